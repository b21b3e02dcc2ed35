using Bellman.Kernels.Cpu;
using Xunit;

namespace Bellman.Kernels.Tests;

public sealed class WorkerTeamTests
{
    [Fact]
    public void Every_task_runs_once_in_each_of_many_runs()
    {
        // Many short runs one after the other: a thread that comes late must not take part in the next run with the old work.
        Span<int> all = stackalloc int[7];
        for (int run = 0; run < 20_000; run++)
        {
            int tasks = 1 + run % all.Length;
            Span<int> counts = all[..tasks];
            counts.Clear();
            unsafe
            {
                fixed (int* pointer = counts)
                {
                    var work = new Count { Counts = pointer, Number = run + 1 };
                    WorkerTeam.Run(ref work, tasks);
                }
            }
            foreach (int count in counts) Assert.Equal(run + 1, count);
        }
    }

    [Fact]
    public void Several_callers_share_the_team()
    {
        var threads = new Thread[4];
        int wrong = 0;
        for (int i = 0; i < threads.Length; i++)
        {
            threads[i] = new Thread(() =>
            {
                try
                {
                    Every_task_runs_once_in_each_of_many_runs();
                }
                catch (Exception)
                {
                    Interlocked.Increment(ref wrong);
                }
            });
            threads[i].Start();
        }
        foreach (Thread thread in threads) thread.Join();
        Assert.Equal(0, wrong);
    }

    [Fact]
    public void A_failure_reaches_the_caller_and_the_team_goes_on()
    {
        for (int run = 0; run < 200; run++)
        {
            var bad = new Fail { At = run % 5 };
            Assert.Throws<InvalidOperationException>(() =>
            {
                Fail copy = bad;
                WorkerTeam.Run(ref copy, 5);
            });
        }
        Every_task_runs_once_in_each_of_many_runs();
    }

    private unsafe struct Count : IParallelWork
    {
        public int* Counts;
        public int Number;

        public readonly void Execute(int task) => Interlocked.Add(ref Counts[task], Number);
    }

    private struct Fail : IParallelWork
    {
        public int At;

        public readonly void Execute(int task)
        {
            if (task == At) throw new InvalidOperationException();
        }
    }
}
