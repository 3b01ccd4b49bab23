package expr

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hint says what to write for what people write from other languages: && for and, == for =. It is empty if src has
// nothing of that kind. Text in quotes is not looked at.
func hint(src string) string {
	var out []string
	say := func(advice string) {
		if advice != "" && !slices.Contains(out, advice) {
			out = append(out, advice)
		}
	}
	tokens := tokenize(src)
	for i, t := range tokens {
		before, after := "", ""
		if i > 0 {
			before = tokens[i-1]
		}
		if i+1 < len(tokens) {
			after = tokens[i+1]
		}
		if before == "." { // a property may be called so
			continue
		}
		say(instead(t, after))
	}
	if len(out) == 0 {
		return ""
	}
	list := strings.Join(out, ", ")
	if sentence, ok := strings.CutPrefix(list, bare); ok {
		return sentence
	}
	return "write " + strings.ReplaceAll(list, bare, "")
}

// bare marks advice that is a sentence of its own, not something to write.
const bare = "\x00"

// instead is the advice for one token and what stands beside it.
func instead(token, after string) string {
	switch lower := strings.ToLower(token); {
	case strings.HasPrefix(token, "'") || strings.HasPrefix(token, `"`):
		if len(token) == 1 || token[len(token)-1] != token[0] {
			return bare + "the text that begins with " + token[:1] + " has no end: close it with " + token[:1]
		}
		return ""
	case lower == "not" && strings.EqualFold(after, "in"):
		return "!(a in b) for a not in b"
	case lower == "in" && after == "(":
		return "in [a, b] for in (a, b)"
	default:
		return word(lower, token) + operator(token)
	}
}

// word is the advice for a word; lower is token in lower case.
func word(lower, token string) string {
	switch lower {
	case "and":
		return "&& for " + token
	case "or":
		return "|| for " + token
	case "not":
		return "! for " + token
	case "eq":
		return "== for " + token
	case "ne", "neq":
		return "!= for " + token
	case "gt":
		return "> for " + token
	case "lt":
		return "< for " + token
	case "ge", "gte":
		return ">= for " + token
	case "le", "lte":
		return "<= for " + token
	case "is", "nil", "none":
		return "has(event.name) to ask whether a value is there"
	case "like", "contains", "startswith", "endswith":
		return "a.contains('b'), a.startsWith('b') or a.endsWith('b') for " + token
	case "between":
		return "a >= 1 && a <= 2 for between"
	case "if", "then", "else":
		return "condition ? a : b for if, then, else"
	case "true", "false", "null":
		if token != lower {
			return lower + " for " + token
		}
	}
	return ""
}

// operator is the advice for a run of signs.
func operator(token string) string {
	switch token {
	case "=", "===":
		return "== for " + token
	case "<>", "!==":
		return "!= for " + token
	case "=>":
		return ">= for =>"
	case "=<":
		return "<= for =<"
	case "&":
		return "&& for &"
	case "|":
		return "|| for |"
	case "=~", "~", "~=":
		return "a.matches('b') for " + token
	case "“", "”", "„", "‘", "’", "«", "»", "`":
		return "' or \" for " + token
	case "{{", "}}":
		return "the expression without {{ and }}"
	case ";":
		return "one expression without ;"
	}
	return ""
}

// tokenize takes src apart into words, texts in quotes, runs of operator signs and single other signs.
func tokenize(src string) []string {
	var out []string
	for src = strings.TrimSpace(src); src != ""; src = strings.TrimSpace(src) {
		n := tokenLength(src)
		out = append(out, src[:n])
		src = src[n:]
	}
	return out
}

func tokenLength(src string) int {
	first, _ := utf8.DecodeRuneInString(src)
	switch {
	case first == '\'' || first == '"':
		return quotedLength(src)
	case strings.HasPrefix(src, "{{") || strings.HasPrefix(src, "}}"):
		return len("{{")
	case isWord(first):
		return run(src, isWord)
	case isOperator(first):
		return run(src, isOperator)
	}
	return len(string(first))
}

// quotedLength is the length of a text in quotes, all of src if it has no end.
func quotedLength(src string) int {
	for i := 1; i < len(src); i++ {
		switch src[i] {
		case '\\':
			i++
		case src[0]:
			return i + 1
		}
	}
	return len(src)
}

func run(src string, in func(rune) bool) int {
	if n := strings.IndexFunc(src, func(r rune) bool { return !in(r) }); n >= 0 {
		return n
	}
	return len(src)
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func isOperator(r rune) bool { return strings.ContainsRune("=<>!&|~", r) }
