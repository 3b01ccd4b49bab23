package log

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"refrain.dev/pkg/fault"
)

type memObject struct {
	data   []byte
	stored time.Time
}

type memObjects struct{ m *Memory }

// Objects implements Site.
func (m *Memory) Objects() Objects { return memObjects{m} }

// Put implements Objects.
func (o memObjects) Put(ctx context.Context, name string, data []byte) error {
	if err := checkObject(name, data); err != nil {
		return err
	}
	op := Op{Name: "object.put", Subject: name, Data: bytes.Clone(data)}
	return o.m.do(ctx, op, true, func() error {
		if o.m.objects == nil {
			o.m.objects = map[string]memObject{}
		}
		o.m.objects[name] = memObject{data: op.Data, stored: o.m.now()}
		return nil
	})
}

// Get implements Objects.
func (o memObjects) Get(ctx context.Context, name string) (data []byte, err error) {
	if err := checkObject(name, nil); err != nil {
		return nil, err
	}
	err = o.m.do(ctx, Op{Name: "object.get", Subject: name}, false, func() error {
		found, ok := o.m.objects[name]
		if !ok {
			return fault.As(fault.NotFound, ErrNotFound)
		}
		data = bytes.Clone(found.data)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Delete implements Objects.
func (o memObjects) Delete(ctx context.Context, name string) error {
	if err := checkObject(name, nil); err != nil {
		return err
	}
	return o.m.do(ctx, Op{Name: "object.delete", Subject: name}, true, func() error {
		delete(o.m.objects, name)
		return nil
	})
}

// List implements Objects.
func (o memObjects) List(ctx context.Context, prefix string) (out []Object, err error) {
	err = o.m.do(ctx, Op{Name: "object.list", Subject: prefix}, false, func() error {
		for name, found := range o.m.objects {
			if strings.HasPrefix(name, prefix) {
				out = append(out, Object{Name: name, Size: uint64(len(found.data)), Stored: found.stored})
			}
		}
		slices.SortFunc(out, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Sweep implements Objects: here an upload is never broken off.
func (o memObjects) Sweep(ctx context.Context, _ time.Time) error {
	return o.m.do(ctx, Op{Name: "object.sweep"}, true, func() error { return nil })
}

// Corrupt changes one byte of a stored object, for those who test that it is noticed. False if there is
// none, or nothing in it.
func (m *Memory) Corrupt(object string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.objects[object]
	if !ok || len(found.data) == 0 {
		return false
	}
	data := bytes.Clone(found.data)
	data[len(data)/2] ^= 0x20
	m.objects[object] = memObject{data: data, stored: found.stored}
	return true
}
