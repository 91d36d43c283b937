package containerd

import (
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/rs/zerolog"
)

// ownTempMounts has containerd's library make the mounts by which it looks into images below the state directory (its place
// is a global of the library), and ends those that a killed agent left there.
func ownTempMounts(state string, log zerolog.Logger) error {
	if err := mount.SetTempMountLocation(filepath.Join(state, "mounts")); err != nil {
		return fmt.Errorf("making the directory for temporary mounts: %w", err)
	}
	warnings, err := mount.CleanupTempMounts(0)
	if err != nil {
		return fmt.Errorf("ending the temporary mounts of an earlier agent: %w", err)
	}
	for _, w := range warnings {
		log.Warn().Err(w).Msg("ending a temporary mount of an earlier agent")
	}
	return nil
}
