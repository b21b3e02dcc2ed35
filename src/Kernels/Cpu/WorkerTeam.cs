using System.Runtime.CompilerServices;

namespace Bellman.Kernels.Cpu;

/// <summary>A piece of work that is split over the worker team; a struct, so that running it allocates nothing.</summary>
internal interface IParallelWork
{
    /// <summary>Does task number <paramref name="task"/>. Tasks of one run touch disjoint output.</summary>
    void Execute(int task);

    /// <summary>Floating-point operations of matrix products in all tasks, for the profile.</summary>
    double Flops => 0;
}

/// <summary>
/// The persistent threads that all CPU ops share. A run hands out task numbers 0..n-1; which thread takes which task
/// never changes a result, because tasks own their outputs and sum in a fixed order. A run waits only for threads that have
/// joined it: on a busy machine the caller does the work of a thread that the system has not let run yet.
/// </summary>
internal static unsafe class WorkerTeam
{
    // Spinning a little catches the next op of a step; parking soon keeps other processes' time slices whole.
    private const int SpinIterations = 2000;

    private const int RunShift = 32;
    private const long Closed = 1L << 31, Joined = Closed - 1;

    private static readonly Lock Gate = new();
    private static readonly Helper[] Helpers;
    private static readonly ThreadPlaces Places;

    private static delegate*<void*, int, void> _body;
    private static void* _context;
    private static int _tasks;
    private static int _next;

    // Number of the run, whether it is closed to further threads, and how many have joined and not left: one word, so that a
    // thread can join only the run that it has seen.
    private static long _state;
    private static Exception? _failure;

    [ThreadStatic] private static bool _inside;

    static WorkerTeam()
    {
        Threads = Math.Max(1, Environment.ProcessorCount);
        Places = new ThreadPlaces(Threads);
        Helpers = new Helper[Threads - 1];
        for (int i = 0; i < Helpers.Length; i++) Helpers[i] = new Helper(i + 1);
    }

    /// <summary>Number of threads that work, the caller included.</summary>
    public static int Threads { get; }

    /// <summary>
    /// Runs tasks 0..<paramref name="tasks"/>-1 and returns when all are done. Nested runs execute inline.
    /// <paramref name="work"/> must be a local variable, never a field of an object that the collector may move.
    /// </summary>
    public static void Run<TWork>(ref TWork work, int tasks) where TWork : struct, IParallelWork
    {
        if (tasks <= 0) return;
        if (CpuProfile.IsOn && !_inside)
        {
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            RunAll(ref work, tasks);
            CpuProfile.Add<TWork>(start, work.Flops);
            return;
        }
        RunAll(ref work, tasks);
    }

    private static void RunAll<TWork>(ref TWork work, int tasks) where TWork : struct, IParallelWork
    {
        if (tasks == 1 || Threads == 1 || _inside)
        {
            RunHere(ref work, tasks);
            return;
        }
        lock (Gate)
        {
            _inside = true;
            _body = &Trampoline<TWork>;
            // The struct is a local of the caller, so it does not move, and all who joined have left before we return.
            _context = Unsafe.AsPointer(ref work);
            _tasks = tasks;
            _next = 0;
            _failure = null;
            Places.Take(0);
            // A full fence: all of the above is seen by whoever sees the new run, and the flags below are read after it.
            Interlocked.Exchange(ref _state, ((_state >> RunShift) + 1) << RunShift);
            foreach (Helper helper in Helpers) helper.WakeIfParked();
            Drain();
            Interlocked.Or(ref _state, Closed);
            var spin = new SpinWait();
            while ((Volatile.Read(ref _state) & Joined) != 0) spin.SpinOnce(sleep1Threshold: -1);
            _inside = false;
            if (_failure is { } failure)
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        }
    }

    /// <summary>Runs tasks 0..<paramref name="tasks"/>-1 on the calling thread: for work that is over before another thread would wake up.</summary>
    public static void RunHere<TWork>(ref TWork work, int tasks) where TWork : struct, IParallelWork
    {
        for (int task = 0; task < tasks; task++) work.Execute(task);
    }

    private static void Trampoline<TWork>(void* context, int task) where TWork : struct, IParallelWork =>
        Unsafe.AsRef<TWork>(context).Execute(task);

    private static void Drain()
    {
        try
        {
            for (int task; (task = Interlocked.Increment(ref _next) - 1) < _tasks;) _body(_context, task);
        }
        catch (Exception e)
        {
            _failure = e;
            Volatile.Write(ref _next, _tasks);
        }
    }

    /// <summary>One thread of the team.</summary>
    private sealed class Helper
    {
        // How often a spinning thread looks whether it is in another one's way.
        private const int SpinsPerLook = 64;

        private readonly AutoResetEvent _wake = new(false);
        private readonly int _number;
        private int _parked;

        public Helper(int number)
        {
            _number = number;
            new Thread(Loop) { IsBackground = true, Name = $"bellman-{number}" }.Start();
        }

        /// <summary>Wakes the thread once: it may take many runs to come.</summary>
        public void WakeIfParked()
        {
            if (Volatile.Read(ref _parked) != 0 && Interlocked.Exchange(ref _parked, 0) != 0) _wake.Set();
        }

        private void Loop()
        {
            _inside = true;
            for (long seen = 0; ;)
            {
                seen = AwaitRunAfter(seen);
                if (!TryJoin(seen)) continue;
                Drain();
                Interlocked.Decrement(ref _state);
            }
        }

        /// <summary>Joins a run unless it is over.</summary>
        private static bool TryJoin(long run)
        {
            for (long state = Volatile.Read(ref _state); state >> RunShift == run && (state & Closed) == 0;)
            {
                long before = Interlocked.CompareExchange(ref _state, state + 1, state);
                if (before == state) return true;
                state = before;
            }
            return false;
        }

        /// <summary>Waits for a run later than the one seen last; its number.</summary>
        private long AwaitRunAfter(long seen)
        {
            for (int spins = 0; ; spins++)
            {
                long run = Volatile.Read(ref _state) >> RunShift;
                if (run != seen) return run;
                if (spins % SpinsPerLook == 0) Places.TakeFree(_number);
                if (spins < SpinIterations)
                {
                    Thread.SpinWait(8);
                    continue;
                }
                // The flag is raised before the run is read again, and the caller raises the run before it reads the flag, so
                // one of the two sees the other; a wake-up left over only costs one more turn of this loop.
                Interlocked.Exchange(ref _parked, 1);
                if (Volatile.Read(ref _state) >> RunShift == seen) _wake.WaitOne();
                Volatile.Write(ref _parked, 0);
                Places.TakeFree(_number);
                spins = 0;
            }
        }
    }
}
