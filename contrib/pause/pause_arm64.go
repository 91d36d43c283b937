package pause

import _ "embed"

//go:embed pause_arm64
var program string
