package wsgi

import "time"

// AtOnce returns o with workers that die replaced at once, however early they die.
func AtOnce(o Options) Options {
	o.restartDelay = func(int) time.Duration { return 0 }
	return o
}
