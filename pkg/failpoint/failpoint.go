// Package failpoint names the places of production code at which a process may die, or pure code may panic. A place costs nothing
// while nobody listens. The simulator crashes processes there; so can a real process, told by its settings.
package failpoint

// Points is told of every named place as it is passed; nil, the value in production, is told of none. It may
// end the process or never return. Names are "<package>.<what was just done>", such as "stage.appended".
type Points func(name string)

// At passes the place with that name.
func (p Points) At(name string) {
	if p != nil {
		p(name)
	}
}

// In passes a place at which pure code is about to run, and says for whom: "<place> <stage>/<row>". It may panic, as
// that code might.
func (p Points) In(name, stage, row string) {
	if p != nil {
		p(name + " " + stage + "/" + row)
	}
}
