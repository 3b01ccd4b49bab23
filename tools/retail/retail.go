// Package retail turns the UCI "Online Retail" data (every line of every invoice of a web shop) into
// events, in the order of their time. docs/guides/retail-data.md says what is taken from the data and what
// is made up, and where to get the file.
package retail

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Message is one Segment call.
type Message struct {
	Type        string         `json:"type"`
	MessageID   string         `json:"messageId"`
	UserID      string         `json:"userId,omitempty"`
	AnonymousID string         `json:"anonymousId,omitempty"`
	Event       string         `json:"event,omitempty"`
	Properties  map[string]any `json:"properties,omitempty"`
	Traits      map[string]any `json:"traits,omitempty"`
	Timestamp   time.Time      `json:"timestamp"`
}

// Report counts what was read.
type Report struct {
	Lines, Invoices, Customers, WithoutCustomer, Cancelled, Other int
}

// header is what the file's first line must be.
const header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"

// invoice is what is kept of an invoice's lines.
type invoice struct {
	number, customer, country string
	at                        time.Time
	total                     float64
	items, lines              int
	negative                  bool // every quantity is negative
}

// Read reads the file, plain or gzip, and returns the events in time order.
func Read(r io.Reader) ([]Message, Report, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	if magic, err := br.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		gz, err := gzip.NewReader(br)
		if err != nil {
			return nil, Report{}, fmt.Errorf("open gzip: %w", err)
		}
		br = bufio.NewReaderSize(gz, 1<<16)
	}
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		return nil, Report{}, fmt.Errorf("load the shop's time zone: %w", err)
	}
	invoices, report, err := readInvoices(br, london)
	if err != nil {
		return nil, report, err
	}
	all := messages(invoices, &report)
	return all, report, nil
}

func readInvoices(r io.Reader, zone *time.Location) ([]*invoice, Report, error) {
	var report Report
	c := csv.NewReader(r)
	c.ReuseRecord, c.FieldsPerRecord = true, 8
	first, err := c.Read()
	if err != nil {
		return nil, report, fmt.Errorf("read the header: %w", err)
	}
	if got := strings.Join(first, ","); strings.TrimPrefix(got, "\ufeff") != header {
		return nil, report, fmt.Errorf("line 1: the header is %q; want %q", got, header)
	}
	byNumber := map[string]*invoice{}
	var all []*invoice
	for {
		f, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, report, fmt.Errorf("read the data: %w", err)
		}
		report.Lines++
		line, _ := c.FieldPos(0)
		if all, err = addLine(byNumber, all, f, zone); err != nil {
			return nil, report, fmt.Errorf("line %d: %w", line, err)
		}
	}
	report.Invoices = len(all)
	slices.SortStableFunc(all, func(a, b *invoice) int { return a.at.Compare(b.at) })
	return all, report, nil
}

// refused says which column has what, and what belongs there.
func refused(column, text, want string) error {
	return fmt.Errorf("%s is %q; want %s", column, text, want)
}

// addLine adds a line to its invoice; an invoice has the time of its first line.
func addLine(byNumber map[string]*invoice, all []*invoice, f []string, zone *time.Location) ([]*invoice, error) {
	quantity, err := strconv.Atoi(f[3])
	if err != nil {
		return all, refused("Quantity", f[3], "a whole number")
	}
	price, err := strconv.ParseFloat(f[5], 64)
	if err != nil {
		return all, refused("UnitPrice", f[5], "a number")
	}
	inv := byNumber[f[0]]
	if inv == nil {
		// A wall-clock time that a switch to summer time skips is read as if the switch had not happened yet.
		at, err := time.ParseInLocation("2006-01-02 15:04:05", f[4], zone)
		if err != nil {
			return all, refused("InvoiceDate", f[4], "a time such as 2010-12-01 08:26:00")
		}
		inv = &invoice{number: strings.Clone(f[0]), at: at, negative: true}
		byNumber[inv.number] = inv
		all = append(all, inv)
	}
	if inv.customer == "" {
		inv.customer = strings.Clone(strings.TrimSuffix(f[6], ".0"))
	}
	if inv.country == "" {
		inv.country = strings.Clone(f[7])
	}
	inv.total += float64(quantity) * price
	inv.items += quantity
	inv.lines++
	inv.negative = inv.negative && quantity < 0
	return all, nil
}

// kind is the event type of an invoice.
func (i *invoice) kind() string {
	switch {
	case strings.HasPrefix(i.number, "C"):
		return "order_cancelled"
	case strings.HasPrefix(i.number, "A"):
		return "ledger_adjusted" // the shop's own book-keeping
	case i.negative:
		return "stock_adjusted" // written off, without a customer
	}
	return "order_placed"
}

func messages(invoices []*invoice, report *Report) []Message {
	known := map[string]bool{}
	var out []Message
	for _, inv := range invoices {
		if inv.customer != "" && !known[inv.customer] {
			known[inv.customer] = true
			out = append(out, introduce(inv)...)
		}
		m := Message{
			Type: "track", MessageID: "invoice-" + inv.number, Event: inv.kind(), Timestamp: inv.at.UTC(), UserID: inv.customer,
			Properties: map[string]any{
				"order_id": inv.number, "total": math.Round(math.Abs(inv.total)*100) / 100, "items": max(inv.items, -inv.items),
				"lines": inv.lines, "currency": "GBP", "country": inv.country,
			},
		}
		if inv.customer == "" {
			m.AnonymousID = "invoice-" + inv.number
			report.WithoutCustomer++
		}
		switch m.Event {
		case "order_cancelled":
			report.Cancelled++
		case "ledger_adjusted", "stock_adjusted":
			report.Other++
		}
		out = append(out, m)
	}
	report.Customers = len(known)
	slices.SortStableFunc(out, func(a, b Message) int { return cmp.Compare(a.Timestamp.UnixNano(), b.Timestamp.UnixNano()) })
	return out
}
