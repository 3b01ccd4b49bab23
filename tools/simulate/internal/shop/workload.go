package shop

import (
	"fmt"
	"math/rand/v2"
	"time"

	"refrain.dev/pkg/simulate/schedule"
)

const (
	clients   = 3
	customers = 5
)

// claims is by how much the clock of whoever tells of permission is wrong, as a rule not at all.
func claims(rng *rand.Rand) string {
	return []string{"0s", "0s", "0s", "0s", "nothing", "-10s", "-1h", "10s", "1h", "48h"}[rng.IntN(10)]
}

// workSpan is the virtual time in which operations begin.
const workSpan = 25 * time.Second

// operations makes what clients do from a seed.
func operations(seed uint64) []schedule.Operation {
	rng := rand.New(rand.NewPCG(seed, 0x0be)) //nolint:gosec // a seed decides everything
	var all []schedule.Operation
	at := time.Duration(0)
	add := func(format string, args ...any) {
		all = append(all, schedule.Operation{At: at, Client: rng.IntN(clients), Do: fmt.Sprintf(format, args...)})
	}
	for c := range customers {
		if rng.IntN(4) == 0 {
			add("browse customer=%d", c)
		}
		add("identify customer=%d zone=%d", c, zone(rng))
		if rng.IntN(8) > 0 {
			add("consent customer=%d state=given by=user claims=%s", c, claims(rng))
		}
	}
	count := 12 + rng.IntN(18)
	for n := range count {
		at = time.Duration(rng.Int64N(int64(workSpan))).Round(time.Millisecond)
		c := rng.IntN(customers)
		if rng.IntN(3) == 0 {
			c = 0 // one is busier than the others
		}
		switch k := rng.IntN(20); {
		case k < 9:
			add("order customer=%d order=%d lane=%s late=%s", c, n, lane(rng), lateness(rng))
		case k < 11:
			add("cancel customer=%d order=%d", c, n)
		case k < 13:
			add("consent customer=%d state=withdrawn by=%s claims=%s spelt=%d", c, []string{"user", "user", "email", "email", "device"}[rng.IntN(5)], claims(rng), n)
		case k < 14:
			add("consent customer=%d state=given by=email claims=%s", c, claims(rng))
		case k < 15:
			switch rng.IntN(6) {
			case 0, 1:
				add("browse customer=%d", c)
			case 2:
				add("share customer=%d with=%d", c, rng.IntN(customers))
			default:
				add("link customer=%d with=%d", c, rng.IntN(customers))
			}
		case k < 17:
			add("reserve customer=%d id=%d then=%s", c, n, []string{"commit", "release", "nothing"}[rng.IntN(3)])
		case k < 18:
			add("ask customer=%d reserve=%v", c, rng.IntN(2) == 0)
		case k < 19:
			add("burst customer=%d order=%d count=%d", c, n, 3+rng.IntN(6))
		default:
			if rng.IntN(3) == 0 {
				add("garbage partition=%d", rng.IntN(partitions))
				continue
			}
			add("apply revision=%d", rng.IntN(2))
		}
	}
	return all
}

// zone is where a customer lives, as a rule one of the first three.
func zone(rng *rand.Rand) int {
	if rng.IntN(4) == 0 {
		return rng.IntN(len(zones()))
	}
	return rng.IntN(3)
}

func lane(rng *rand.Rand) string {
	if rng.IntN(4) == 0 {
		return "bulk"
	}
	return "live"
}

// lateness is how old an event is when it is published, or how far ahead its publisher's clock is.
func lateness(rng *rand.Rand) time.Duration {
	switch rng.IntN(8) {
	case 0:
		return time.Duration(rng.IntN(3600)) * time.Second
	case 1:
		return -time.Duration(rng.IntN(600)) * time.Second
	default:
		return time.Duration(rng.IntN(1000)) * time.Millisecond
	}
}
