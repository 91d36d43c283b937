package podmgr

import (
	"context"
	"io"
	"time"
)

// Images is what a person may do with the images on the node. The laws:
//
//   - Every method may be called at the same time as any other, and as pulls for pods; pulls of one reference share one
//     transfer.
//   - progress may be nil; it is called from one goroutine at a time and not after the method returned.
//   - Removing what is not here returns an error for which errors.Is(err, ErrNoImage).
type Images interface {
	// List returns every image, those of manifests included.
	List(ctx context.Context) ([]Image, error)
	// Pull fetches ref from its registry.
	Pull(ctx context.Context, ref string, progress func(Progress)) (Image, error)
	// Import reads an OCI or docker archive from r to its end and returns the images it held.
	Import(ctx context.Context, r io.Reader, progress func(Progress)) ([]Image, error)
	// Remove forgets the name ref, and the image when it was its last name. Running containers keep what they run.
	Remove(ctx context.Context, ref string) error
	// Pin keeps the image of the name ref although no manifest names it, or stops doing so.
	Pin(ctx context.Context, ref string, pinned bool) error
}

// Image is an image on the node.
type Image struct {
	// Names are its references, fully qualified.
	Names []string `json:"names"`
	// ID is the digest of its configuration for this platform, Digest that of its manifest or index.
	ID     string `json:"id"`
	Digest string `json:"digest"`
	// Size is what it takes in the content store, in bytes, compressed.
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
	// Pinned says that a manifest names it or a person pinned it, so that no garbage collection takes it.
	Pinned bool `json:"pinned"`
	// ByHand says that a person did.
	ByHand bool `json:"byHand,omitempty"`
}

// Progress is how far a pull or an import of one thing (a layer, a manifest, an image) has come.
type Progress struct {
	Ref    string `json:"ref"`
	Status string `json:"status"` // such as resolving, downloading, unpacking, done
	// Done and Total are bytes; Total is 0 while it is unknown.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

// ImageLine is one line of the answer to a pull or an import: some progress, or, as the last line, the images or an error.
type ImageLine struct {
	Progress *Progress `json:"progress,omitempty"`
	Images   []Image   `json:"images,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// ErrNoImage says that an image is not on the node.
const ErrNoImage = imageError("no such image")

// imageError is a constant error about an image.
type imageError string

func (e imageError) Error() string { return string(e) }
