package liquid

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// onText is a filter that makes a text of a text; nil stays nil.
func onText(do func(string) string) filter {
	return filter{0, 0, func(a arguments, in any) (any, error) {
		s, err := a.input(in)
		if err != nil || in == nil {
			return in, err
		}
		out := do(s)
		return out, a.run.budget.alloc(len(out))
	}}
}

// input is what a filter works on as text, charged for being looked at.
func (a arguments) input(in any) (string, error) {
	s, err := a.run.text(in)
	if err != nil {
		return "", err
	}
	return s, a.run.budget.work(len(s))
}

// onTexts is a filter with one text as its argument.
func onTexts(do func(a arguments, s, other string) (any, error)) filter {
	return filter{1, 1, func(a arguments, in any) (any, error) {
		s, err := a.input(in)
		if err != nil {
			return nil, err
		}
		other, err := a.text(0, "")
		if err != nil {
			return nil, err
		}
		return do(a, s, other)
	}}
}

func textFilters() map[string]filter {
	return map[string]filter{
		"upcase":         onText(upper),
		"downcase":       onText(strings.ToLower),
		"capitalize":     onText(capitalize),
		"strip":          onText(func(s string) string { return strings.Trim(s, blanks) }),
		"lstrip":         onText(func(s string) string { return strings.TrimLeft(s, blanks) }),
		"rstrip":         onText(func(s string) string { return strings.TrimRight(s, blanks) }),
		"strip_newlines": onText(strings.NewReplacer("\r\n", "", "\n", "").Replace),
		"squish":         onText(func(s string) string { return strings.Join(strings.Fields(s), " ") }),
		"strip_html":     onText(stripHTML),
		"newline_to_br":  onText(strings.NewReplacer("\r\n", "<br />\n", "\n", "<br />\n").Replace),
		"append":         onTexts(func(a arguments, s, t string) (any, error) { return s + t, a.run.budget.alloc(len(s) + len(t)) }),
		"prepend":        onTexts(func(a arguments, s, t string) (any, error) { return t + s, a.run.budget.alloc(len(s) + len(t)) }),
		"replace":        replacing(1, 2, replaceAll),
		"replace_first":  replacing(1, 2, replaceFirst),
		"replace_last":   replacing(2, 2, replaceLast),
		"remove":         replacing(1, 1, replaceAll),
		"remove_first":   replacing(1, 1, replaceFirst),
		"remove_last":    replacing(1, 1, replaceLast),
		"truncate":       {0, 2, truncate},
		"truncatewords":  {0, 2, truncateWords},
		"slice":          {1, 2, slice},
		"split":          onTexts(split),
	}
}

// upper knows the one letter that grows.
func upper(s string) string { return strings.ReplaceAll(strings.ToUpper(s), "ß", "SS") }

func capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	head := strings.ToTitle(s[:n])
	if s[:n] == "ß" {
		head = "Ss"
	}
	return head + strings.ToLower(s[n:])
}

var (
	htmlBlocks = regexp.MustCompile(`(?s)<script.*?</script>|<!--.*?-->|<style.*?</style>`)
	htmlTags   = regexp.MustCompile(`(?s)<.*?>`)
)

func stripHTML(s string) string {
	return htmlTags.ReplaceAllString(htmlBlocks.ReplaceAllString(s, ""), "")
}

// replacing is a filter that puts one text in the place of another. What it makes is charged before it is made.
func replacing(least, most int, do func(r *run, s, old, by string) (string, error)) filter {
	return filter{least, most, func(a arguments, in any) (any, error) {
		s, err := a.input(in)
		if err != nil {
			return nil, err
		}
		old, err := a.text(0, "")
		if err != nil {
			return nil, err
		}
		by, err := a.text(1, "")
		if err != nil {
			return nil, err
		}
		return do(a.run, s, old, by)
	}}
}

func replaceAll(r *run, s, old, by string) (string, error) {
	n := strings.Count(s, old)
	grown := n * max(len(by)-len(old), 0)
	if by != "" && n > (1<<40)/len(by) {
		grown = -1
	}
	if err := r.budget.alloc(len(s) + grown); err != nil || n == 0 {
		return s, err
	}
	return strings.ReplaceAll(s, old, by), nil
}

func replaceFirst(r *run, s, old, by string) (string, error) {
	return strings.Replace(s, old, by, 1), r.budget.alloc(len(s) + len(by))
}

func replaceLast(r *run, s, old, by string) (string, error) {
	i := strings.LastIndex(s, old)
	if i < 0 {
		return s, nil
	}
	return s[:i] + by + s[i+len(old):], r.budget.alloc(len(s) + len(by))
}

func truncate(a arguments, in any) (any, error) {
	const usual = 50
	if in == nil {
		return nil, nil
	}
	length, err := a.integer(0, usual)
	if err != nil {
		return nil, err
	}
	tail, err := a.text(1, "...")
	if err != nil {
		return nil, err
	}
	s, err := a.input(in)
	if err != nil || int64(utf8.RuneCountInString(s)) <= length {
		return s, err
	}
	keep := max(length-int64(utf8.RuneCountInString(tail)), 0)
	out := firstRunes(s, keep) + tail
	return out, a.run.budget.alloc(len(out))
}

// firstRunes is the first n characters of s.
func firstRunes(s string, n int64) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

func truncateWords(a arguments, in any) (any, error) {
	const usual = 15
	if in == nil {
		return nil, nil
	}
	count, err := a.integer(0, usual)
	if err != nil {
		return nil, err
	}
	tail, err := a.text(1, "...")
	if err != nil {
		return nil, err
	}
	s, err := a.input(in)
	if err != nil {
		return nil, err
	}
	words := strings.FieldsFunc(s, isBlank)
	if err := a.run.budget.elements(len(words)); err != nil {
		return nil, err
	}
	count = max(count, 1)
	if int64(len(words)) <= count {
		return s, nil
	}
	out := strings.Join(words[:count], " ") + tail
	return out, a.run.budget.alloc(len(out))
}

func isBlank(r rune) bool { return r <= unicode.MaxASCII && strings.ContainsRune(blanks, r) }

// slice takes a part of a list, or of a text by characters.
func slice(a arguments, in any) (any, error) {
	offset, err := a.integer(0, 0)
	if err != nil {
		return nil, err
	}
	length := int64(1)
	if a.arg(1) != nil {
		if length, err = a.integer(1, 1); err != nil {
			return nil, err
		}
	}
	if list, ok := in.([]any); ok {
		from, to := cut(int64(len(list)), offset, length)
		return list[from:to:to], a.run.budget.elements(int(to - from))
	}
	s, err := a.input(in)
	if err != nil {
		return nil, err
	}
	runes := []rune(s)
	from, to := cut(int64(len(runes)), offset, length)
	out := string(runes[from:to])
	return out, a.run.budget.alloc(len(s))
}

// cut is where a part begins and ends; both are 0 if there is none.
func cut(size, offset, length int64) (from, to int64) {
	if offset < 0 {
		offset += size
	}
	if offset < 0 || offset > size || length <= 0 {
		return 0, 0
	}
	return offset, offset + min(length, size-offset)
}

// split cuts a text into a list. A single blank stands for any white space, and empty texts at the end are
// left out.
func split(a arguments, s, by string) (any, error) {
	n := strings.Count(s, by) + 1
	if err := a.run.budget.elements(n); err != nil {
		return nil, err
	}
	var parts []string
	if by == " " {
		parts = strings.FieldsFunc(s, isBlank)
	} else if s != "" {
		parts = strings.Split(s, by)
	}
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return ownAll(parts), nil
}
