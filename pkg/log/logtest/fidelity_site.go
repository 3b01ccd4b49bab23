package logtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"refrain.dev/pkg/log"
)

// stream creates, deletes or reads the configuration of a stream. Only one that no feed reads is deleted, and
// none twice: see the test.
func (f *fidelity) stream() {
	c := f.config()
	switch evenly(3).Draw(f.rt, "stream") {
	case 0:
		f.both(fmt.Sprintf("create %+v", c), func(s *side) string { return said(s.site.CreateStream(f.ctx, c)) })
	case 1:
		if f.deleted[c.Name] {
			return
		}
		f.deleted[c.Name] = true
		for i, subjects := range f.open {
			for subject := range subjects {
				if slices.ContainsFunc(c.Subjects, func(stored string) bool { return strings.HasPrefix(subject, strings.TrimSuffix(stored, "*")) }) {
					f.closeNumber(i)
				}
			}
		}
		f.both("delete "+c.Name, func(s *side) string { return said(s.site.DeleteStream(f.ctx, c.Name)) })
	default:
		f.both("stream "+c.Name, func(s *side) string {
			got, err := s.site.Stream(f.ctx, c.Name)
			slices.Sort(got.Subjects)
			made := !got.Made.IsZero()
			got.Made = time.Time{}
			return fmt.Sprintf("%+v, made at a time: %v, %s", got, made, said(err))
		})
	}
}

// config draws a configuration like those that are there, or one that does not fit. Limits that take messages
// away by age are not among them: a Memory has none, and nobody provisions any.
func (f *fidelity) config() log.StreamConfig {
	all := fidelityStreams()
	other := all[2]
	other.Name = "OTHER" // the same subjects
	single := all[2]
	single.Name, single.Subjects = "SINGLE", []string{"box.profile.0"}
	apart := all[2]
	apart.Name, apart.Subjects = "APART", []string{"dlq.profile.0"}
	c := oneOf(f.rt, "config", append(all, other, single, apart)...)
	switch evenly(10).Draw(f.rt, "change") {
	case 0:
		c.MaxBytes = 5000
	case 1:
		c.AllowDirect = true
	case 2:
		c.Subjects = append(slices.Clone(c.Subjects), "redrive.profile.0")
	}
	return c
}

func (f *fidelity) keyValue() {
	key := oneOf(f.rt, "key", "a", "a", "a/b", "a.b", "b", "ab", "", "a b", ".a", "a.", "a..b", "*", ">", "a=_-1")
	value := []byte(oneOf(f.rt, "value", "", "1", "22", strings.Repeat("v", 1<<20), strings.Repeat("v", 1<<20+1)))
	kv := func(s *side) log.KV { return s.site.KV() }
	switch evenly(5).Draw(f.rt, "key value") {
	case 0:
		f.both(fmt.Sprintf("put %q, %d bytes", key, len(value)), func(s *side) string { return said(kv(s).Put(f.ctx, key, value)) })
	case 1:
		prefix := oneOf(f.rt, "prefix", "", "a", "a/", "c", "*", "a b")
		f.both(fmt.Sprintf("keys %q", prefix), func(s *side) string {
			keys, err := kv(s).Keys(f.ctx, prefix)
			return fmt.Sprintf("%q, %s", keys, said(err))
		})
	case 2:
		revision := uint64(rapid.IntRange(0, 5).Draw(f.rt, "revision")) //nolint:gosec // small
		if _, at, err := kv(f.sides[0]).Get(f.ctx, key); err == nil && rapid.Bool().Draw(f.rt, "right") {
			revision = at
		}
		f.both(fmt.Sprintf("update %q at %d, %d bytes", key, revision, len(value)), func(s *side) string {
			return said(kv(s).Update(f.ctx, key, value, revision))
		})
	default:
		f.both(fmt.Sprintf("value of %q", key), func(s *side) string {
			got, revision, err := kv(s).Get(f.ctx, key)
			return fmt.Sprintf("%d bytes %.3q at %d, %s", len(got), got, revision, said(err))
		})
	}
}

func (f *fidelity) object() {
	name := oneOf(f.rt, "object", "a", "a", "a/b", "b", "", "a b", "*", "/a", "a/")
	data := []byte(strings.Repeat("o", oneOf(f.rt, "size", 0, 1, 300_000)))
	objects := func(s *side) log.Objects { return s.site.Objects() }
	switch evenly(4).Draw(f.rt, "objects") {
	case 0:
		f.both(fmt.Sprintf("put object %q, %d bytes", name, len(data)), func(s *side) string { return said(objects(s).Put(f.ctx, name, data)) })
	case 1:
		f.both(fmt.Sprintf("delete object %q", name), func(s *side) string { return said(objects(s).Delete(f.ctx, name)) })
	case 2:
		prefix := oneOf(f.rt, "prefix", "", "a", "a/", "c")
		f.both(fmt.Sprintf("objects %q", prefix), func(s *side) string {
			all, err := objects(s).List(f.ctx, prefix)
			var says []string
			for _, o := range all {
				says = append(says, fmt.Sprintf("%s %d has a time: %v", o.Name, o.Size, !o.Stored.IsZero()))
			}
			return strings.Join(append(says, said(err)), "; ")
		})
	default:
		f.both(fmt.Sprintf("object %q", name), func(s *side) string {
			got, err := objects(s).Get(f.ctx, name)
			return fmt.Sprintf("%d bytes %.3q, %s", len(got), got, said(err))
		})
	}
}
