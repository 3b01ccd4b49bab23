package log

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"refrain.dev/pkg/fault"
)

// MaxMessage is the greatest size of a message in bytes. Records stay under half of it.
const MaxMessage = 1 << 20

// StreamConfig is how a stream is kept. What is not in it is fixed: file storage, no per-subject limits.
type StreamConfig struct {
	// Name of the stream, such as EVENTS-g1-0.
	Name string
	// Subjects that it stores, sorted. The last token may be a wildcard, for all partitions.
	Subjects []string
	// Replicas is 1 or 3.
	Replicas int
	// MaxBytes bounds the stream. A full stream refuses, unless it drops its oldest messages instead.
	MaxBytes int64
	// MaxMessage bounds one message.
	MaxMessage int32
	// MaxAge must be zero: age would take a chain's last record.
	MaxAge time.Duration
	// MaxPerSubject must be zero, for the same reason.
	MaxPerSubject int64
	// DiscardNew must be true, but for streams that no reader reads back: these drop their oldest messages, and
	// are never full.
	DiscardNew bool
	// DenyDelete must be true.
	DenyDelete bool
	// AllowDirect must be false: direct reads may be stale right after an acknowledged append.
	AllowDirect bool
	// File says that messages survive the server's end.
	File bool
	// Made is when it was made, of a stream that is there; not compared.
	Made time.Time

	chains []string // that begin in it with a genesis, in this order
}

// DefaultMaxBytes is how much a stream may hold unless told otherwise.
const DefaultMaxBytes = 8 << 30

// sideShare is the part of a stream's size that a stream has which no reader reads back.
const sideShare = 8

// sideBytes is the size of such a stream beside streams of maxBytes: an eighth, and room for a few of the greatest
// messages.
func sideBytes(maxBytes int64) int64 { return min(maxBytes, max(maxBytes/sideShare, 8*MaxMessage)) }

// family is a group of streams with one name and its subject prefixes.
type family struct {
	name     string
	prefixes []string
	chain    bool
	// aside says that no reader reads it back: it drops its oldest messages, is smaller, and stops nothing.
	aside bool
}

func families() []family {
	boxes := family{name: "BOXES"}
	redrive := family{name: "REDRIVE"}
	dead := family{name: "DEADLETTERS"}
	refused := family{name: "REFUSED", prefixes: []string{DeadLetters("ingest")}, aside: true}
	lanes := family{name: "EVENTS"}
	for _, lane := range Lanes() {
		lanes.prefixes = append(lanes.prefixes, Lane(lane))
	}
	all := []family{lanes}
	chains := map[string]string{"prf": "PROFILES", "act": "ACTIONS", "vdc": "VERDICTS", "snd": "SENDS"}
	for _, s := range Stages() {
		all = append(all, family{name: chains[s.Chain], prefixes: []string{s.Chain}, chain: true})
		boxes.prefixes = append(boxes.prefixes, Box(s.Name))
		redrive.prefixes = append(redrive.prefixes, Redrive(s.Name))
		dead.prefixes = append(dead.prefixes, DeadLetters(s.Name))
	}
	return append(all, boxes, redrive, family{name: "DECISIONS", prefixes: []string{DecisionLog}, aside: true}, dead, refused)
}

// Coupled lists the subjects, one for each stream, of the streams that stop something when they are full: all but
// those that drop their oldest messages.
func (g Generation) Coupled() []string {
	var out []string
	for _, f := range families() {
		for s := range g.Streams {
			if !f.aside {
				out = append(out, Subject(f.prefixes[0], s))
			}
		}
	}
	return out
}

// StreamConfigs lists the streams of a generation, each holding at most maxBytes, or a part of it where no reader
// reads it back. Partition p of a family is in its stream p mod S.
func (g Generation) StreamConfigs(maxBytes int64) []StreamConfig {
	var all []StreamConfig
	for _, f := range families() {
		for s := range g.Streams {
			c := StreamConfig{
				Name: f.stream(g.Number, s), Replicas: g.Replicas,
				MaxBytes: maxBytes, MaxMessage: MaxMessage, DiscardNew: !f.aside, DenyDelete: true, File: true,
			}
			if f.aside {
				c.MaxBytes = sideBytes(maxBytes)
			}
			for p := s; p < g.Partitions; p += g.Streams {
				for _, prefix := range f.prefixes {
					c.Subjects = append(c.Subjects, Subject(prefix, p))
				}
				if f.chain {
					c.chains = append(c.chains, Subject(f.prefixes[0], p))
				}
			}
			if g.Streams == 1 {
				// A thousand literal subjects are slow to make and to look up in the server.
				c.Subjects = nil
				for _, prefix := range f.prefixes {
					c.Subjects = append(c.Subjects, prefix+anyPartition)
				}
			}
			slices.Sort(c.Subjects)
			all = append(all, c)
		}
	}
	return all
}

const anyPartition = ".*"

// checkSubject refuses what is not one subject that can be stored.
func checkSubject(subject string) error {
	if strings.ContainsAny(subject, "*> ") || subject == "" {
		return fault.New(fault.Invalid, "%q is not a subject that can be stored", subject)
	}
	return nil
}

// overlap says whether a message could be stored under both subjects, of which the last token may be a
// wildcard.
func overlap(a, b string) bool {
	cut := func(s string) (string, string) {
		return s[:strings.LastIndexByte(s, '.')+1], s[strings.LastIndexByte(s, '.')+1:]
	}
	prefixA, lastA := cut(a)
	prefixB, lastB := cut(b)
	return prefixA == prefixB && (lastA == lastB || lastA == "*" || lastB == "*")
}

func errNoStream(subject string) error {
	return fault.New(fault.Unavailable, "no stream stores %s", subject)
}

// wildcard is the subject under which a stream may store subject along with all other partitions.
func wildcard(subject string) string {
	if strings.HasPrefix(subject, kvSubjects) {
		return kvSubjects + ">"
	}
	return subject[:strings.LastIndexByte(subject, '.')+1] + "*"
}

// Validate says what is wrong with a generation; nil if it can be provisioned.
func (g Generation) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(g.Number > 0, "number is 0; generations count from 1")
	check(g.Partitions >= 1 && g.Partitions <= 1024, "partitions is %d; want 1 to 1024", g.Partitions)
	check(g.Streams >= 1 && g.Streams <= max(g.Partitions, 1), "streams is %d; want 1 to the number of partitions", g.Streams)
	check(g.Replicas == 1 || g.Replicas == 3, "replicas is %d; want 1 or 3", g.Replicas)
	check(len(g.Secret) >= 32, "secret has %d bytes; want at least 32", len(g.Secret))
	if err := errors.Join(errs...); err != nil {
		return fault.New(fault.Invalid, "generation %d: %w", g.Number, err)
	}
	return nil
}

// difference lists how got differs from c, one sentence each.
func (c StreamConfig) difference(got StreamConfig) []error {
	var errs []error
	check := func(field string, want, got any) {
		if want != got {
			errs = append(errs, fmt.Errorf("stream %s: %s is %v, want %v", c.Name, field, got, want))
		}
	}
	check("replicas", c.Replicas, got.Replicas)
	check("max_bytes", c.MaxBytes, got.MaxBytes)
	check("max_msg_size", c.MaxMessage, got.MaxMessage)
	check("max_age", c.MaxAge, got.MaxAge)
	check("max_msgs_per_subject", c.MaxPerSubject, got.MaxPerSubject)
	check("discard new", c.DiscardNew, got.DiscardNew)
	check("deny_delete", c.DenyDelete, got.DenyDelete)
	check("allow_direct", c.AllowDirect, got.AllowDirect)
	check("file storage", c.File, got.File)
	if !slices.Equal(c.Subjects, slices.Sorted(slices.Values(got.Subjects))) {
		errs = append(errs, fmt.Errorf("stream %s: it stores %d subjects that are not the expected %d", c.Name, len(got.Subjects), len(c.Subjects)))
	}
	return errs
}
