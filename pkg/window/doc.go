// Package window is Refrain's arithmetic of time: ISO 8601 periods, local days and calendar windows, and
// quiet windows of wall-clock time, all exact across daylight-saving changes.
//
// It never asks time.Date to resolve a wall-clock time at the edge of a change, because time.Date does
// not say which of two instants it gives and may land on the day before. Everything here is found by
// walking the zone's segments of constant offset instead:
//
//   - a wall-clock time that does not exist is the first instant after the gap;
//   - a wall-clock time that exists twice begins something at its first reading and ends a quiet window
//     at its last, which is the more restrictive reading of both;
//   - a local day begins at its first existing instant and ends where the next one begins.
//
// Windows are half-open: the start belongs to them, the end does not.
package window
