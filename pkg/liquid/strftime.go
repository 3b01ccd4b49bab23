package liquid

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// widest bounds the width of a directive.
const widest = 64

// directive is one % of a form: flags, width and the letter.
type directive struct {
	pad    byte // '-' none, '0', '_' blanks; 0 is the letter's own
	upper  bool
	swap   bool
	colons int
	width  int
	letter byte
}

// strftime writes a time as Ruby's method of that name does. An unknown directive stays as it is.
func strftime(t time.Time, form string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(form); {
		if form[i] != '%' {
			b.WriteByte(form[i])
			i++
			continue
		}
		d, n := readDirective(form[i:])
		if d.width > widest {
			return "", failed("a date is wider than %d", widest)
		}
		out, ok := d.format(t)
		if !ok {
			out = form[i : i+n]
		}
		b.WriteString(out)
		i += n
	}
	return b.String(), nil
}

// readDirective reads one directive and how many bytes it has.
func readDirective(s string) (d directive, n int) {
	for n = 1; n < len(s); n++ {
		switch c := s[n]; {
		case c == '-' || c == '_' || (c == '0' && d.width == 0):
			d.pad = c
		case c == '^':
			d.upper = true
		case c == '#':
			d.swap = true
		case c == ':':
			d.colons++
		case c >= '0' && c <= '9':
			d.width = min(d.width*10+int(c-'0'), widest+1)
		case c == 'E' || c == 'O':
		default:
			d.letter = c
			return d, n + 1
		}
	}
	return d, n
}

func (d directive) format(t time.Time) (string, bool) {
	if s, ok := d.numeric(t); ok {
		return s, true
	}
	s, ok := d.words(t)
	if !ok {
		return "", false
	}
	if d.upper || (d.swap && d.letter != 'p') {
		s = strings.ToUpper(s)
	} else if d.swap {
		s = strings.ToLower(s)
	}
	fill := " "
	if d.pad == '0' {
		fill = "0"
	}
	return strings.Repeat(fill, max(d.width-len(s), 0)) + s, true
}

// number is a directive of digits.
func (d directive) number(n, width int, pad byte) (string, bool) {
	if d.pad != 0 {
		pad = d.pad
	}
	if d.width > 0 {
		width = d.width
	}
	switch pad {
	case '-':
		return strconv.Itoa(n), true
	case '_':
		return fmt.Sprintf("%*d", width, n), true
	}
	return fmt.Sprintf("%0*d", width, n), true
}

func (d directive) numeric(t time.Time) (string, bool) {
	isoYear, isoWeek := t.ISOWeek()
	weekday := int(t.Weekday())
	const perCentury, hours = 100, 12
	switch d.letter {
	case 'Y':
		return d.number(t.Year(), 1, '0')
	case 'C':
		return d.number(t.Year()/perCentury, 2, '0')
	case 'y':
		return d.number(t.Year()%perCentury, 2, '0')
	case 'm':
		return d.number(int(t.Month()), 2, '0')
	case 'd':
		return d.number(t.Day(), 2, '0')
	case 'e':
		return d.number(t.Day(), 2, '_')
	case 'j':
		return d.number(t.YearDay(), 3, '0')
	case 'H':
		return d.number(t.Hour(), 2, '0')
	case 'k':
		return d.number(t.Hour(), 2, '_')
	case 'I':
		return d.number((t.Hour()+hours-1)%hours+1, 2, '0')
	case 'l':
		return d.number((t.Hour()+hours-1)%hours+1, 2, '_')
	case 'M':
		return d.number(t.Minute(), 2, '0')
	case 'S':
		return d.number(t.Second(), 2, '0')
	case 's':
		return d.number(int(t.Unix()), 1, '0')
	case 'u':
		return d.number((weekday+6)%7+1, 1, '0')
	case 'w':
		return d.number(weekday, 1, '0')
	case 'G':
		return d.number(isoYear, 1, '0')
	case 'g':
		return d.number(isoYear%perCentury, 2, '0')
	case 'V':
		return d.number(isoWeek, 2, '0')
	case 'U':
		return d.number((t.YearDay()+6-weekday)/7, 2, '0')
	case 'W':
		return d.number((t.YearDay()+6-(weekday+6)%7)/7, 2, '0')
	case 'L', 'N':
		return d.fraction(t), true
	}
	return "", false
}

// fraction is the part of a second, cut off after as many digits as the width says.
func (d directive) fraction(t time.Time) string {
	const milli, nano = 3, 9
	width := d.width
	if width == 0 {
		width = nano
		if d.letter == 'L' {
			width = milli
		}
	}
	all := fmt.Sprintf("%09d", t.Nanosecond())
	if width <= nano {
		return all[:width]
	}
	return all + strings.Repeat("0", width-nano)
}

func (d directive) words(t time.Time) (string, bool) {
	layout := map[byte]string{
		'A': "Monday", 'a': "Mon", 'B': "January", 'b': "Jan", 'h': "Jan", 'p': "PM", 'P': "pm", 'Z': "MST",
		'c': "Mon Jan _2 15:04:05 2006", 'D': "01/02/06", 'F': "2006-01-02", 'v': "_2-Jan-2006", 'x': "01/02/06", 'X': "15:04:05",
		'r': "03:04:05 PM", 'R': "15:04", 'T': "15:04:05", '+': "Mon Jan _2 15:04:05 MST 2006",
	}
	switch d.letter {
	case '%':
		return "%", true
	case 'n':
		return "\n", true
	case 't':
		return "\t", true
	case 'z':
		return t.Format([]string{"-0700", "-07:00", "-07:00:00"}[min(d.colons, 2)]), true
	case 'v':
		return strings.ToUpper(t.Format(layout['v'])), true
	}
	l, ok := layout[d.letter]
	return t.Format(l), ok
}
