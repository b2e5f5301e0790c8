package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rescind/rescind"
)

// witness keeps a node's testimony in a small file. Nodes of one store may share
// it: each only takes it for what the store once said.
type witness struct {
	path string
	read bool
	last rescind.Testimony
}

const maxWitness = 1 << 20

// Recall implements [rescind.Witness]. The file is read once.
func (w *witness) Recall() (rescind.Testimony, error) {
	if w.read {
		return w.last, nil
	}
	f, err := os.Open(w.path)
	if errors.Is(err, fs.ErrNotExist) {
		w.read = true
		return w.last, nil
	}
	if err != nil {
		return w.last, err
	}
	defer f.Close()
	dec := json.NewDecoder(io.LimitReader(f, maxWitness))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w.last); err != nil {
		return rescind.Testimony{}, fmt.Errorf("%s: %w; if it is damaged, and the store is known to be what it was, delete it", w.path, err)
	}
	w.read = true
	return w.last, nil
}

// Remember implements [rescind.Witness]. The file is whole at any time; what a
// crash of the machine takes away is the newest of it.
func (w *witness) Remember(t rescind.Testimony) error {
	w.last, w.read = t, true
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := privateFolder(filepath.Dir(w.path)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(w.path), ".witness-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), w.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
