package determinism

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

// opening is when the shop opens: a Monday.
var opening = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)

type object = map[string]any

// crowd makes the events of a shop: many customers at the same instant, with several devices each,
// shared devices and addresses, links, consents, orders, late events and repeats.
type crowd struct {
	rnd    *rand.Rand
	people int
	at     time.Time
	made   int
	past   []object
}

// story is the bodies to publish, one batch per instant, and the time after it.
func story(t *testing.T, seed uint64, events int) (bodies [][]byte, end time.Time) {
	t.Helper()
	c := &crowd{rnd: rand.New(rand.NewPCG(seed, 77)), people: 14, at: opening}
	for c.made < events {
		c.at = c.at.Add(c.pause())
		// The first of a batch is not late, so a batch that comes again arrives when it did before.
		batch := c.stamp(object{"type": "page", "anonymousId": c.device()})
		for range 1 + c.rnd.IntN(16) {
			batch = append(batch, c.event()...)
		}
		body, err := json.Marshal(object{"batch": batch})
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies, c.at.AddDate(0, 0, 90)
}

func (c *crowd) pause() time.Duration {
	switch c.rnd.IntN(4) {
	case 0: // just when a collect window that began at the instant before may end
		return 10 * time.Minute
	case 1:
		return time.Duration(1+c.rnd.IntN(90)) * time.Minute
	case 2:
		return time.Duration(c.rnd.IntN(20)) * time.Hour
	}
	return time.Duration(1+c.rnd.IntN(3)) * 24 * time.Hour
}

func (c *crowd) user() string   { return fmt.Sprint("u", c.rnd.IntN(c.people)) }
func (c *crowd) device() string { return fmt.Sprint("device-", c.rnd.IntN(c.people*3)) }

// own is one of the two devices that a user has, as a rule.
func (c *crowd) own(user string) string {
	if c.rnd.IntN(6) == 0 {
		return c.device()
	}
	return fmt.Sprint("device-of-", user, "-", c.rnd.IntN(2))
}

func (c *crowd) mail(user string) string {
	if c.rnd.IntN(5) == 0 {
		return fmt.Sprint("family-", c.rnd.IntN(4), "@home.example")
	}
	return user + "@home.example"
}

// event makes one event, sometimes two that belong together.
func (c *crowd) event() []object {
	user := c.user()
	switch n := c.rnd.IntN(100); {
	case n < 16:
		return c.stamp(c.order(user, nil))
	case n < 24:
		return c.stamp(c.order("", object{"anonymousId": c.own(user)}))
	case n < 32:
		return c.stamp(c.track(user, "order_cancelled", object{"order_id": fmt.Sprint("o", c.rnd.IntN(300)), "total": 20.5}))
	case n < 50:
		return c.identify(user)
	case n < 56:
		return c.stamp(object{"type": "alias", "userId": user, "previousId": c.own(user)})
	case n < 66:
		return c.stamp(c.consent(user, "consent_given"))
	case n < 71:
		return c.stamp(c.consent(user, "consent_withdrawn"))
	case n < 76:
		return c.stamp(object{"type": "page", "anonymousId": c.own(user), "context": object{"timezone": "Asia/Tokyo"}})
	case n < 81:
		return c.stamp(object{"type": "group", "userId": user, "groupId": fmt.Sprint("g", c.rnd.IntN(3)), "traits": object{"plan": fmt.Sprint("p", c.rnd.IntN(3))}})
	case n < 86:
		return c.late(c.order(user, object{"anonymousId": c.own(user)}))
	case n < 92 && len(c.past) > 0:
		return []object{c.past[c.rnd.IntN(len(c.past))]}
	}
	// The device is heard of, and known, in one instant.
	device := c.own(user)
	return append(c.stamp(c.order("", object{"anonymousId": device})), c.stamp(object{
		"type": "identify", "userId": user, "anonymousId": device, "traits": object{"email": c.mail(user)},
	})...)
}

func (c *crowd) identify(user string) []object {
	e := object{"type": "identify", "userId": user}
	if c.rnd.IntN(2) == 0 {
		e["anonymousId"] = c.own(user)
	}
	traits := object{"name": fmt.Sprint("Name ", c.rnd.IntN(4))}
	if c.rnd.IntN(3) > 0 {
		traits["email"] = c.mail(user)
	}
	if c.rnd.IntN(3) == 0 {
		traits["phone"] = fmt.Sprint("+4930123456", c.rnd.IntN(20)+10)
	}
	if c.rnd.IntN(2) == 0 {
		traits["timezone"] = []string{"Europe/London", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe"}[c.rnd.IntN(4)]
	}
	e["traits"] = traits
	return c.stamp(e)
}

func (c *crowd) consent(user, what string) object {
	e := c.track(user, what, object{"channel": "email", "topic": []string{"news", "*"}[c.rnd.IntN(2)], "basis": "express"})
	if c.rnd.IntN(4) == 0 {
		delete(e, "userId")
		e["anonymousId"] = c.own(user)
	}
	return e
}

func (c *crowd) track(user, what string, properties object) object {
	return object{"type": "track", "userId": user, "event": what, "properties": properties}
}

func (c *crowd) order(user string, more object) object {
	e := c.track(user, "order_placed", object{
		"order_id": fmt.Sprint("o", c.rnd.IntN(300)), "total": float64(c.rnd.IntN(40000)) / 100, "items": 1 + c.rnd.IntN(5),
	})
	if user == "" {
		delete(e, "userId")
	}
	maps.Copy(e, more)
	return e
}

// stamp gives an event its id and the present instant.
func (c *crowd) stamp(e object) []object {
	c.made++
	e["messageId"] = fmt.Sprint("m", c.made)
	e["timestamp"] = c.at.Format(time.RFC3339)
	c.past = append(c.past, e)
	return []object{e}
}

// late makes it an event that happened before.
func (c *crowd) late(e object) []object {
	c.stamp(e)
	before := []time.Duration{20 * time.Minute, 3 * time.Hour, 50 * time.Hour}[c.rnd.IntN(3)]
	e["timestamp"] = c.at.Add(-before).Format(time.RFC3339)
	return []object{e}
}
