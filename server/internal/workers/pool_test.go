package workers

import (
	"reflect"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// job submits a job that waits for goOn, and may be refused.
func (p *Pool) job(goOn chan struct{}) (*Job, bool) {
	j := &Job{Run: func() { <-goOn }}
	return j, p.Submit(j)
}

// burst has n jobs run at once, and waits until they have ended.
func (p *Pool) burst(t *testing.T, n int) {
	t.Helper()
	goOn := make(chan struct{})
	for range n {
		if _, ok := p.job(goOn); !ok {
			t.Fatal("refused")
		}
	}
	if load := p.Load(); load.Running != n {
		t.Fatalf("%+v, want %d running", load, n)
	}
	done := p.NoneRunning()
	close(goOn)
	<-done
}

// idleGoroutines is how many goroutines of this process wait for a job.
func idleGoroutines() int {
	b := make([]byte, 1<<20)
	park := runtime.FuncForPC(reflect.ValueOf((*Pool).park).Pointer()).Name()
	return strings.Count(string(b[:runtime.Stack(b, true)]), park+"(")
}

func goroutinesCreated() uint64 {
	sample := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// A worker that has finished takes the next job on.
func TestWorkersAreUsedAgain(t *testing.T) {
	const jobs = 500
	p := New(8, 0)
	defer p.Stop()
	before := goroutinesCreated()
	for range jobs {
		p.burst(t, 1)
		eventually(t, "the worker is idle", func() bool { return p.Load().Idle > 0 })
	}
	if n := goroutinesCreated() - before; n > jobs/10 {
		t.Errorf("%d goroutines for %d jobs one after the other", n, jobs)
	}
}

// Workers without a job end after a while, and the one that worked last is kept.
func TestIdleWorkersEnd(t *testing.T) {
	const n = 6
	p := New(n, 0)
	p.idleTime = time.Hour // this test is the clock
	p.burst(t, n)
	eventually(t, "they are idle", func() bool { return p.Load().Idle == n && idleGoroutines() == n })
	p.sweep()
	if got := p.Load().Idle; got != n {
		t.Errorf("%d are left that have just worked, want %d", got, n)
	}
	p.burst(t, 2)
	eventually(t, "they are idle again", func() bool { return p.Load().Idle == n })
	p.sweep()
	if got := p.Load().Idle; got != 2 {
		t.Errorf("%d are left, want 2 that have worked", got)
	}
	eventually(t, "the others have ended", func() bool { return idleGoroutines() == 2 })
	p.sweep()
	if got := p.Load().Idle; got != 0 {
		t.Errorf("%d are left, want none", got)
	}
	p.mu.Lock()
	p.idleTime = time.Millisecond
	p.mu.Unlock()
	p.burst(t, n)
	eventually(t, "they end by themselves", func() bool { return p.Load().Idle == 0 && idleGoroutines() == 0 })
	p.burst(t, n)
}

// After Stop no worker waits for a job, whether it had one then or not.
func TestStop(t *testing.T) {
	p := New(4, 0)
	p.burst(t, 3)
	eventually(t, "they are idle", func() bool { return p.Load().Idle == 3 })
	goOn := make(chan struct{})
	p.job(goOn)
	p.Stop()
	eventually(t, "those have ended that had no job", func() bool { return p.Load().Idle == 0 && idleGoroutines() == 0 })
	close(goOn)
	<-p.NoneRunning()
	eventually(t, "the last has ended", func() bool { return idleGoroutines() == 0 })
	if load := p.Load(); load != (Load{}) {
		t.Errorf("%+v after all", load)
	}
}

// A job that ends its goroutine leaves its slot to the next in the queue, or to nothing.
func TestGoexit(t *testing.T) {
	p := New(1, 10)
	defer p.Stop()
	goOn, ran := make(chan struct{}), make(chan int, 10)
	p.job(goOn)
	for i := range 4 {
		p.Submit(&Job{Run: func() {
			ran <- i
			if i%2 == 0 {
				runtime.Goexit()
			}
		}})
	}
	close(goOn)
	<-p.NoneRunning()
	for i := range 4 {
		if got := <-ran; got != i {
			t.Errorf("job %d ran, want %d", got, i)
		}
	}
}

// Jobs run in the order they came, no more than allowed at once, and those beyond the queue are
// refused.
func TestOrder(t *testing.T) {
	const queued = 20
	for _, slots := range []int{1, 3} {
		p := New(slots, queued)
		var mu sync.Mutex
		var order []int
		atOnce, most := 0, 0
		goOn := make(chan struct{})
		for i := range slots + queued + 5 {
			ok := p.Submit(&Job{Run: func() {
				mu.Lock()
				order = append(order, i)
				atOnce++
				most = max(most, atOnce)
				mu.Unlock()
				<-goOn
				mu.Lock()
				atOnce--
				mu.Unlock()
			}})
			if ok != (i < slots+queued) {
				t.Errorf("job %d was taken: %v", i, ok)
			}
		}
		for range slots + queued {
			goOn <- struct{}{}
		}
		<-p.NoneRunning()
		p.Stop()
		if slots == 1 && !slices.IsSorted(order) { // else the scheduler has a say in it
			t.Errorf("they ran in the order %v", order)
		}
		if most > slots || len(order) != slots+queued {
			t.Errorf("%d jobs ran, %d at once, want %d and at most %d", len(order), most, slots+queued, slots)
		}
	}
}

// Any job may leave the queue: the others run in their order.
func TestRemove(t *testing.T) {
	p := New(0, 100)
	jobs := make([]*Job, 7)
	for i := range jobs {
		jobs[i] = new(Job)
		if !p.Submit(jobs[i]) {
			t.Fatal("there is room")
		}
	}
	for _, i := range []int{0, 3, 6} { // the first, one in the middle, the last
		if !p.Remove(jobs[i]) || p.Remove(jobs[i]) {
			t.Errorf("job %d was not removed once", i)
		}
	}
	for _, i := range []int{1, 2, 4, 5} {
		if j := p.queue.pop(); j != jobs[i] {
			t.Errorf("the next is not job %d", i)
		}
	}
	if p.queue != (queue{}) {
		t.Errorf("the queue is %+v, want none", p.queue)
	}
}

// A hijacked job has no slot: one that waits runs beside it, and its end frees no slot twice.
func TestHijacked(t *testing.T) {
	p := New(1, 10)
	defer p.Stop()
	for range 3 {
		hijacked, end := make(chan struct{}), make(chan struct{})
		p.Submit(&Job{Run: func() {
			p.HijackBegan()
			close(hijacked)
			<-end
			p.HijackEnded()
		}})
		<-hijacked
		goOn := make(chan struct{})
		p.job(goOn)
		p.job(goOn)
		if load := p.Load(); load.Running != 1 || load.Waiting != 1 || load.Hijacked != 1 {
			t.Errorf("%+v, want one of each", load)
		}
		back := p.NoneHijacked()
		close(end)
		<-back
		if load := p.Load(); load.Running != 1 || load.Waiting != 1 {
			t.Errorf("%+v, want one that runs and one that waits", load)
		}
		close(goOn)
		<-p.NoneRunning()
	}
}

// A job that the pool has not started has a slot beyond those allowed, until Release.
func TestAddRunning(t *testing.T) {
	p := New(1, 10)
	defer p.Stop()
	goOn := make(chan struct{})
	p.job(goOn)
	p.AddRunning()
	p.job(goOn)
	if load := p.Load(); load.Running != 2 || load.Waiting != 1 {
		t.Errorf("%+v, want 2 that run and one that waits", load)
	}
	p.Release()
	if load := p.Load(); load.Running != 1 || load.Waiting != 1 {
		t.Errorf("%+v after Release, want one that runs and one that waits", load)
	}
	close(goOn)
	<-p.NoneRunning()
}

// Half of the workers is kept from uploads.
func TestUploads(t *testing.T) {
	for workers, want := range map[int]int{1: 0, 2: 1, 5: 2, 8: 4} {
		p, n := New(workers, 0), 0
		for p.BeginUpload() {
			n++
		}
		if n != want {
			t.Errorf("%d workers take %d uploads, want %d", workers, n, want)
		}
		for range n {
			p.EndUpload()
		}
		if got := p.Load().Uploads; got != 0 || p.BeginUpload() != (want > 0) {
			t.Errorf("%d uploads after all have ended", got)
		}
	}
}
