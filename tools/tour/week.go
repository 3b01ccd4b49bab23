package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"refrain.dev/services/mesh/meshsvc"
	"refrain.dev/tools/publish"
)

// happening is one event of the week.
type happening struct {
	at      time.Time
	user    string
	message map[string]any
}

func london() *time.Location {
	zone, err := time.LoadLocation("Europe/London")
	if err != nil {
		return time.UTC
	}
	return zone
}

// monday is the first day of the last full Monday to Sunday before now, in London.
func monday(now time.Time) time.Time {
	now = now.In(london())
	back := (int(now.Weekday()) + 6) % 7
	return time.Date(now.Year(), now.Month(), now.Day()-back-7, 0, 0, 0, 0, london())
}

func endOfWeek(t time.Time) time.Time {
	t = t.In(london())
	ahead := (8 - int(t.Weekday())) % 7
	if ahead == 0 {
		ahead = 7
	}
	return time.Date(t.Year(), t.Month(), t.Day()+ahead, 0, 0, 0, 0, london())
}

// readWeek reads the story and places it in the last full week before now.
func readWeek(path string, now time.Time) ([]happening, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the week: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	first := monday(now)
	var week []happening
	s := bufio.NewScanner(f)
	for line := 1; s.Scan(); line++ {
		var m map[string]any
		if err := json.Unmarshal(s.Bytes(), &m); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
		at, _ := m["at"].(string)
		when, err := onDay(first, at)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
		delete(m, "at")
		m["timestamp"], m["messageId"] = when.UTC().Format(time.RFC3339), fmt.Sprintf("week-%s-%d", when.Format("20060102"), line)
		user, _ := m["userId"].(string)
		week = append(week, happening{at: when, user: user, message: m})
	}
	if len(week) == 0 {
		return nil, fmt.Errorf("%s: nothing happens in it", path)
	}
	return week, s.Err()
}

// onDay reads "Mon 09:02" as an instant of the week that begins on first.
func onDay(first time.Time, text string) (time.Time, error) {
	day, clock, _ := strings.Cut(text, " ")
	t, err := time.Parse("15:04", clock)
	n := strings.Index("MonTueWedThuFriSatSun", day)
	if err != nil || n < 0 || n%3 != 0 || len(day) != 3 {
		return time.Time{}, fmt.Errorf("at is %q; want a day and a time, such as Mon 09:02", text)
	}
	return time.Date(first.Year(), first.Month(), first.Day()+n/3, t.Hour(), t.Minute(), 0, 0, first.Location()), nil
}

func (t *tour) publish(ctx context.Context, m *meshsvc.Mesh, h happening) error {
	data, err := json.Marshal(h.message)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	client := publish.Client{URL: "http://" + m.Addr("ingest-http").String(), WriteKey: "tour", Patience: time.Minute}
	refused, err := client.Send(ctx, []json.RawMessage{data})
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("event of %s at %s was refused: %s %s", h.user, h.at.Format("Mon 15:04"), refused[0].Field, refused[0].Why)
	}
	return err
}
