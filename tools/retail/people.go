package retail

import (
	"crypto/sha256"
	"time"
)

// What the data does not say is made up from a hash of the customer's number, the same every time:
// an address, and consent for mail given by eight in ten, denied by one, never asked of one.
const (
	consentGiven  = 80 // of 100
	consentDenied = 10
)

// share is a number from 0 to 99 that follows from the customer.
func share(customer string) int {
	sum := sha256.Sum256([]byte("refrain retail " + customer))
	return (int(sum[0])<<8 | int(sum[1])) % 100
}

// introduce says who a customer is, a minute before the first invoice.
func introduce(first *invoice) []Message {
	at := first.at.Add(-time.Minute).UTC()
	traits := map[string]any{"email": "customer" + first.customer + "@shop.example", "country": first.country}
	if zone := zoneOf(first.country); zone != "" {
		traits["timezone"] = zone
	}
	out := []Message{{
		Type: "identify", MessageID: "customer-" + first.customer, UserID: first.customer, Traits: traits, Timestamp: at,
	}}
	event := ""
	switch n := share(first.customer); {
	case n < consentGiven:
		event = "consent_given"
	case n < consentGiven+consentDenied:
		event = "consent_withdrawn"
	}
	if event != "" {
		out = append(out, Message{
			Type: "track", MessageID: "consent-" + first.customer, UserID: first.customer, Event: event, Timestamp: at,
			Properties: map[string]any{"channel": "email", "topic": "*", "basis": "express", "evidence": "made up from the customer's number"},
		})
	}
	return out
}

// zoneOf is the zone of a country as the data names it; of large ones the capital's. Unknown is unknown.
func zoneOf(country string) string {
	switch country {
	case "United Kingdom":
		return "Europe/London"
	case "EIRE":
		return "Europe/Dublin"
	case "Channel Islands":
		return "Europe/Jersey"
	case "USA":
		return "America/New_York"
	case "RSA":
		return "Africa/Johannesburg"
	case "Hong Kong":
		return "Asia/Hong_Kong"
	case "United Arab Emirates":
		return "Asia/Dubai"
	case "Saudi Arabia":
		return "Asia/Riyadh"
	}
	return plainZones()[country]
}

func plainZones() map[string]string {
	return map[string]string{
		"Australia": "Australia/Sydney", "Austria": "Europe/Vienna", "Bahrain": "Asia/Bahrain", "Belgium": "Europe/Brussels",
		"Brazil": "America/Sao_Paulo", "Canada": "America/Toronto", "Cyprus": "Asia/Nicosia", "Czech Republic": "Europe/Prague",
		"Denmark": "Europe/Copenhagen", "Finland": "Europe/Helsinki", "France": "Europe/Paris", "Germany": "Europe/Berlin",
		"Greece": "Europe/Athens", "Iceland": "Atlantic/Reykjavik", "Israel": "Asia/Jerusalem", "Italy": "Europe/Rome",
		"Japan": "Asia/Tokyo", "Lebanon": "Asia/Beirut", "Lithuania": "Europe/Vilnius", "Malta": "Europe/Malta",
		"Netherlands": "Europe/Amsterdam", "Norway": "Europe/Oslo", "Poland": "Europe/Warsaw", "Portugal": "Europe/Lisbon",
		"Singapore": "Asia/Singapore", "Spain": "Europe/Madrid", "Sweden": "Europe/Stockholm", "Switzerland": "Europe/Zurich",
	}
}
