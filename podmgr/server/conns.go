package server

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Caps on connections of the TLS door.
const (
	maxConns      = 512
	maxConnsPerIP = 64
)

// connections bounds the connections of a door, in all and from one address. When there is no room for a new one, the
// oldest that has no request under way makes place: an attacker who holds connections open (a slowloris) loses them to
// whoever comes, and nobody who is being served is disturbed.
type connections struct {
	max, perIP int

	mu   sync.Mutex // guards all; nothing is closed under it
	all  map[net.Conn]*connection
	next uint64
}

type connection struct {
	ip       string
	order    uint64 // of arrival
	waits    bool   // for a handshake, a header, or the next request
	hijacked bool
}

func newConnections(most, perIP int) *connections {
	return &connections{max: most, perIP: perIP, all: map[net.Conn]*connection{}}
}

// state is an http.Server.ConnState.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		if victim := c.add(conn); victim != nil {
			_ = victim.SetDeadline(time.Unix(1, 0)) // closing a TLS connection could wait for its peer
			_ = rawConn(victim).Close()
		}
	case http.StateHijacked:
		c.mu.Lock()
		if known := c.all[conn]; known != nil {
			known.hijacked = true
		}
		c.mu.Unlock()
	case http.StateClosed:
		c.remove(conn)
	case http.StateActive, http.StateIdle:
		// Active begins with the first byte of a header, which proves nothing: serving says more.
	}
}

// serving notes that a whole request has come over conn; done is called when it is answered.
func (c *connections) serving(conn net.Conn) (done func()) {
	set := func(waits bool) (hijacked bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		known := c.all[conn]
		if known == nil {
			return false
		}
		known.waits = waits
		return known.hijacked
	}
	set(false)
	return func() {
		if set(true) {
			c.remove(conn) // its handler has ended, and nobody else reports its end
		}
	}
}

// add takes a connection in and returns the one to close for it: itself, when everybody else is being served.
func (c *connections) add(conn net.Conn) (victim net.Conn) {
	ip, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	c.mu.Lock()
	defer c.mu.Unlock()
	ofIP := 0
	var oldest, oldestOfIP net.Conn
	for other, k := range c.all {
		if k.ip == ip {
			ofIP++
		}
		if !k.waits {
			continue
		}
		if oldest == nil || k.order < c.all[oldest].order {
			oldest = other
		}
		if k.ip == ip && (oldestOfIP == nil || k.order < c.all[oldestOfIP].order) {
			oldestOfIP = other
		}
	}
	switch {
	case ofIP >= c.perIP:
		victim = oldestOfIP
	case len(c.all) >= c.max:
		victim = oldest
	default:
		c.keep(conn, ip)
		return nil
	}
	if victim == nil {
		return conn
	}
	delete(c.all, victim)
	c.keep(conn, ip)
	return victim
}

func (c *connections) keep(conn net.Conn, ip string) {
	c.next++
	c.all[conn] = &connection{ip: ip, order: c.next, waits: true}
}

func (c *connections) remove(conn net.Conn) {
	c.mu.Lock()
	delete(c.all, conn)
	c.mu.Unlock()
}

// rawConn is the connection below TLS.
func rawConn(c net.Conn) net.Conn {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return c
}
