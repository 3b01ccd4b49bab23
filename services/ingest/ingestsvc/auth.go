package ingestsvc

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// keyring knows which tenant a write key belongs to.
type keyring struct {
	// tenants by the hash of the key, so that look-ups tell nothing by their time.
	tenants map[[sha256.Size]byte]string
	open    string
}

func newKeyring(cfg Config) keyring {
	k := keyring{tenants: map[[sha256.Size]byte]string{}}
	for tenant, keys := range cfg.WriteKeys {
		for key := range strings.FieldsSeq(keys.Reveal()) {
			k.tenants[sha256.Sum256([]byte(key))] = tenant
		}
	}
	if len(k.tenants) == 0 {
		k.open = cfg.DefaultTenant
	}
	return k
}

// tenant returns whose key it is; false if it is nobody's.
func (k keyring) tenant(key string) (string, bool) {
	if k.open != "" {
		return k.open, true
	}
	sum := sha256.Sum256([]byte(key))
	for known, tenant := range k.tenants {
		if subtle.ConstantTimeCompare(sum[:], known[:]) == 1 {
			return tenant, true
		}
	}
	return "", false
}

// keyFrom reads the write key out of an Authorization value: Basic with the key as user name, or Bearer.
func keyFrom(authorization string) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	switch {
	case strings.EqualFold(scheme, "bearer"):
		return strings.TrimSpace(rest)
	case strings.EqualFold(scheme, "basic"):
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
		if err != nil {
			return ""
		}
		key, _, _ := strings.Cut(string(decoded), ":")
		return key
	}
	return ""
}
