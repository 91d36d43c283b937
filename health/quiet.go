package health

import (
	"context"
	"time"
)

// Quiet calls do once each time that changed has fired and then been silent for so long, until ctx ends. It is for what is
// worth doing when the work is done, such as giving memory back.
func Quiet(ctx context.Context, changed func() <-chan struct{}, long time.Duration, do func()) error {
	t := time.NewTimer(long)
	defer t.Stop()
	for {
		next := changed()
		select {
		case <-ctx.Done():
			return nil
		case <-next:
			t.Reset(long)
		case <-t.C:
			do()
			select {
			case <-ctx.Done():
				return nil
			case <-next:
				t.Reset(long)
			}
		}
	}
}
