package server

import (
	"bytes"
	"sync"
)

// capped keeps the first bytes of what two streams write, and swallows the rest.
type capped struct {
	most int

	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Write(p[:min(len(p), c.most-c.buf.Len())])
	return len(p), nil
}

func (c *capped) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}
