// Package decide is the heart of the decision stage: proposals are made, compete in placements and are
// resolved, and a query ranks what could be done now. It is pure: a state and an input give a new state
// and facts, and nothing it is given is changed.
//
// One ranking serves both ways in which a placement is filled. Filled by the mesh, it collects proposals
// for a while, chooses the best and keeps or supersedes the rest; on request, it ranks its own actions
// and every open proposal that fits, without any effect.
package decide
