package event

import "strings"

// Signals are what an adapter or provider tells of the request by which something was opened or clicked. Nil and empty say
// nothing.
type Signals struct {
	// Machine is the provider's own verdict.
	Machine *bool
	// Prefetch says whether it was loaded ahead of being looked at.
	Prefetch *bool
	// UserAgent is what the request called itself.
	UserAgent string
}

// Verdict says whether a machine did it, nil if nothing tells. The provider's own verdict counts first, then
// whether it was loaded ahead, then the user agent: what names itself a robot, scanner or library is one, and so is the bare
// Mozilla/5.0 of mail programs that load all images ahead. A proxy that loads an image when it is looked at is a person.
func (s Signals) Verdict() *bool {
	switch {
	case s.Machine != nil:
		return s.Machine
	case s.Prefetch != nil && (*s.Prefetch || s.UserAgent == ""):
		return s.Prefetch
	case s.UserAgent != "":
		return new(isRobot(s.UserAgent))
	}
	return nil
}

// robots are words in the user agents of machines.
func robots() []string {
	return []string{
		"bot", "crawl", "spider", "slurp", "scanner", "prefetch", "preview", "headless", "phantomjs", "barracuda", "mimecast",
		"proofpoint", "symantec", "office existence discovery", "facebookexternalhit", "python", "curl/", "wget/",
		"go-http-client", "libwww", "java/", "apache-httpclient", "node-fetch", "axios/",
	}
}

func isRobot(agent string) bool {
	agent = strings.ToLower(strings.TrimSpace(agent))
	if agent == "mozilla/5.0" {
		return true
	}
	agent = strings.ReplaceAll(agent, "cubot", "") // a maker of telephones
	for _, word := range robots() {
		if strings.Contains(agent, word) {
			return true
		}
	}
	return false
}
