//go:build race

package chaos

// raceEnabled: then the examples must be built with the race detector too.
const raceEnabled = true
