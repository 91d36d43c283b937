package metrics

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// imagesMaxAge is how old the sum of images may get: the engine reads the configuration of each for it.
const imagesMaxAge = time.Minute

// imageCache keeps scrapers from having the engine read all images every time.
type imageCache struct {
	ask    func(ctx context.Context) (Images, error)
	flight singleflight.Group
	last   atomic.Pointer[imageSum]
}

type imageSum struct {
	at time.Time
	Images
}

// sum is what ask says, at most imagesMaxAge old; those who come at the same time ask once. Errors are not kept.
func (c *imageCache) sum(ctx context.Context) (Images, error) {
	if s := c.last.Load(); s != nil && time.Since(s.at) < imagesMaxAge {
		return s.Images, nil
	}
	v, err, _ := c.flight.Do("", func() (any, error) {
		images, err := c.ask(ctx)
		if err == nil {
			c.last.Store(&imageSum{time.Now(), images})
		}
		return images, err
	})
	if err != nil {
		return Images{}, err //nolint:wrapcheck // it is that of Config.Images
	}
	return v.(Images), nil
}
