package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// String prints the schedule as text that Parse reads: a line for each fault, then for each operation.
func (s Schedule) String() string {
	var b strings.Builder
	for _, f := range s.Faults {
		b.WriteString(f.String())
		b.WriteByte('\n')
	}
	for _, o := range s.Operations {
		b.WriteString(o.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// String prints the fault as a line, such as "when=step:120 what=late node=profile-0 on=log:prf. for=20ms".
func (f Fault) String() string {
	line := "when=" + quote(f.When.String()) + " what=" + quote(string(f.What))
	if f.Node != "" {
		line += " node=" + quote(f.Node)
	}
	if f.On != "" {
		line += " on=" + quote(f.On)
	}
	if f.Times != 0 {
		line += " times=" + strconv.Itoa(f.Times)
	}
	if f.For != 0 {
		line += " for=" + f.For.String()
	}
	if f.Count != 0 {
		line += " count=" + strconv.Itoa(f.Count)
	}
	return line
}

// String prints the moment: "step:120", "at:1.5s" or "point:stage.appended#3".
func (w When) String() string {
	switch {
	case w.Point != "":
		return fmt.Sprintf("point:%s#%d", w.Point, w.Pass)
	case w.Step != 0:
		return "step:" + strconv.FormatUint(w.Step, 10)
	default:
		return "at:" + w.At.String()
	}
}

// String prints the operation as a line, such as `at=12ms client=1 do="publish customer=3"`.
func (o Operation) String() string {
	return fmt.Sprintf("at=%s client=%d do=%s", o.At, o.Client, strconv.Quote(o.Do))
}

func quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\r\n\"\\") && strconv.Quote(s) == `"`+s+`"` {
		return s
	}
	return strconv.Quote(s)
}

// Parse reads what String prints. Empty lines and lines that begin with # are skipped.
func Parse(text string) (Schedule, error) {
	var s Schedule
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields, err := split(line)
		if err == nil {
			err = add(&s, fields)
		}
		if err != nil {
			return Schedule{}, fmt.Errorf("line %d of the schedule: %w", n+1, err)
		}
	}
	return s, nil
}

// String prints the seed as a line before the schedule; ParseCase reads it.
func (c Case) String() string {
	return "seed=" + strconv.FormatUint(c.Seed, 10) + "\n" + c.Schedule.String()
}

// ParseCase reads what Case.String prints: a first line with the seed, then a schedule.
func ParseCase(text string) (Case, error) {
	first, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	number, ok := strings.CutPrefix(strings.TrimSpace(first), "seed=")
	seed, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil {
		return Case{}, fmt.Errorf("read the seed from %q: want seed=<number>", first)
	}
	s, err := Parse(rest)
	return Case{seed, s}, err
}

type field struct{ name, value string }

func split(line string) ([]field, error) {
	var fields []field
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		name, rest, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want name=value", line)
		}
		value, after, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("read the value of %s: %w", name, err)
			}
			if value, err = strconv.Unquote(quoted); err != nil {
				return nil, fmt.Errorf("read the value of %s: %w", name, err)
			}
			after = rest[len(quoted):]
		}
		fields = append(fields, field{name, value})
		line = after
	}
	return fields, nil
}

func add(s *Schedule, fields []field) error {
	if fields[0].name != "when" {
		var o Operation
		for _, f := range fields {
			if err := setOperation(&o, f); err != nil {
				return err
			}
		}
		s.Operations = append(s.Operations, o)
		return nil
	}
	var fault Fault
	for _, f := range fields {
		if err := setFault(&fault, f); err != nil {
			return err
		}
	}
	if _, ok := SpecOf(fault.What); !ok {
		return fmt.Errorf("there is no fault %q", fault.What)
	}
	s.Faults = append(s.Faults, fault)
	return nil
}

func setOperation(o *Operation, f field) (err error) {
	switch f.name {
	case "at":
		o.At, err = time.ParseDuration(f.value)
	case "client":
		if o.Client, err = strconv.Atoi(f.value); err == nil && o.Client < 0 {
			err = fmt.Errorf("client %d: want 0 or more", o.Client)
		}
	case "do":
		o.Do = f.value
	default:
		err = fmt.Errorf("an operation has no %s", f.name)
	}
	return err
}

func setFault(t *Fault, f field) (err error) {
	switch f.name {
	case "when":
		t.When, err = parseWhen(f.value)
	case "what":
		t.What = Kind(f.value)
	case "node":
		t.Node = f.value
	case "on":
		t.On = f.value
	case "times":
		t.Times, err = strconv.Atoi(f.value)
	case "for":
		t.For, err = time.ParseDuration(f.value)
	case "count":
		t.Count, err = strconv.Atoi(f.value)
	default:
		err = fmt.Errorf("a fault has no %s", f.name)
	}
	return err
}

func parseWhen(s string) (w When, err error) {
	kind, value, _ := strings.Cut(s, ":")
	switch kind {
	case "step":
		w.Step, err = strconv.ParseUint(value, 10, 64)
	case "at":
		w.At, err = time.ParseDuration(value)
	case "point":
		name, pass, ok := strings.Cut(value, "#")
		w.Point, w.Pass = name, 1
		if ok {
			w.Pass, err = strconv.Atoi(pass)
		}
		if err == nil && (w.Pass < 1 || name == "") {
			err = fmt.Errorf("%q: want point:name#pass", s)
		}
	default:
		err = fmt.Errorf("moment %q: want one that begins with step, at or point", s)
	}
	return w, err
}
