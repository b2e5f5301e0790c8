package pebblestore

import (
	"context"
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// Endings and events are numbered entries. Those of one flight lie together in
// blocks, each under the number of its first entry: what is written together
// costs one key. An entry in a block is its distance from the first, its length,
// and its bytes. Blocks are never added to; only Purge takes entries out.

const (
	blockEntries = 256
	blockBytes   = 64 << 10
)

// block collects entries of one kind.
type block struct {
	kind  byte
	first uint64
	n     int
	value []byte
}

// add appends an entry, which is given in two parts. The caller sends the block
// off when it is full.
func (b *block) add(number uint64, entry []byte) {
	if b.n == 0 {
		b.first = number
	}
	b.n++
	b.value = binary.AppendUvarint(b.value, number-b.first)
	b.value = binary.AppendUvarint(b.value, uint64(len(entry)))
	b.value = append(b.value, entry...)
}

func (b *block) full() bool { return b.n >= blockEntries || len(b.value) >= blockBytes }

// send writes the block, if anything is in it, and empties it.
func (c *committer) send(b *block) {
	if b.n > 0 {
		c.set(numberKey(b.kind, b.first), b.value)
		b.n, b.value = 0, b.value[:0]
	}
}

// entries calls use for each entry of a block until it says to stop.
func entries(key, value []byte, use func(number uint64, entry []byte) (bool, error)) (more bool, err error) {
	first, err := keyNumber(key)
	if err != nil {
		return false, err
	}
	for r := (reader{b: value}); len(r.b) > 0; {
		number := first + r.uvarint()
		n := r.uvarint()
		if n > uint64(len(r.b)) {
			r.bad = true
		}
		entry := r.take(int(min(n, 1<<30)))
		if r.bad {
			return false, damaged("a block of entries")
		}
		if more, err := use(number, entry); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// ascend calls use for the entries of a kind from one number up to and without
// another, oldest first, until it says to stop.
func (s *Store) ascend(kind byte, from, to uint64, use func(number uint64, entry []byte) (bool, error)) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: numberKey(kind, to)})
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, it.Close()) }()
	// The block that begins before from may hold it.
	ok := it.SeekLT(numberKey(kind, from+1))
	if !ok {
		ok = it.First()
	}
	for more := true; ok && more; ok = it.Next() {
		more, err = entries(it.Key(), it.Value(), func(number uint64, entry []byte) (bool, error) {
			if number < from {
				return true, nil
			}
			if number >= to {
				return false, nil
			}
			return use(number, entry)
		})
		if err != nil {
			return err
		}
	}
	return it.Error()
}

// descend is ascend from the newest to the oldest.
func (s *Store) descend(ctx context.Context, kind byte, to uint64, use func(number uint64, entry []byte) (bool, error)) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: numberKey(kind, to)})
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, it.Close()) }()
	type numbered struct {
		number uint64
		entry  []byte
	}
	var list []numbered
	for ok := it.Last(); ok; ok = it.Prev() {
		if err := ctx.Err(); err != nil {
			return err
		}
		list = list[:0]
		if _, err := entries(it.Key(), it.Value(), func(number uint64, entry []byte) (bool, error) {
			list = append(list, numbered{number, entry})
			return number < to, nil
		}); err != nil {
			return err
		}
		for i := len(list) - 1; i >= 0; i-- {
			if list[i].number >= to {
				continue
			}
			if more, err := use(list[i].number, list[i].entry); err != nil || !more {
				return err
			}
		}
	}
	return it.Error()
}

// rewrite is a block without some of its entries; nil where none are left.
type rewrite struct {
	key, value []byte
}

// without reads the blocks that hold some entries, given in order, and returns
// what is left of them, and how many of the entries were there.
func (s *Store) without(kind byte, drop []uint64) (list []rewrite, removed int, err error) {
	if len(drop) == 0 {
		return nil, 0, nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: numberKey(kind, drop[len(drop)-1]+1)})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = firstOf(err, it.Close()) }()
	ok := it.SeekLT(numberKey(kind, drop[0]+1))
	if !ok {
		ok = it.First()
	}
	for ; ok; ok = it.Next() {
		first, err := keyNumber(it.Key())
		if err != nil {
			return nil, 0, err
		}
		left, was := block{}, removed
		if _, err := entries(it.Key(), it.Value(), func(number uint64, entry []byte) (bool, error) {
			for len(drop) > 0 && drop[0] < number {
				drop = drop[1:]
			}
			if len(drop) > 0 && drop[0] == number {
				removed++
				return true, nil
			}
			if left.n == 0 {
				left.first, left.n = first, 1 // distances stay
			}
			left.add(number, entry)
			return true, nil
		}); err != nil {
			return nil, 0, err
		}
		if removed > was {
			list = append(list, rewrite{append([]byte(nil), it.Key()...), left.value})
		}
	}
	return list, removed, it.Error()
}
