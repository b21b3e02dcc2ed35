using Bellman.Kernels.Cpu;
using Xunit;

namespace Bellman.Kernels.Tests;

public sealed class ThreadPlacesTests
{
    [Fact]
    public void AThreadOnAnothersProcessorMovesAndMayStillRunAnywhere()
    {
        if (!OperatingSystem.IsLinux() || Environment.ProcessorCount < 2) Assert.Skip("Threads are moved on Linux, where there are processors to choose from.");
        var places = new ThreadPlaces(2);
        string before = "", after = "";
        // A thread of its own: the test runner's is not to be moved.
        var thread = new Thread(() =>
        {
            before = Allowed();
            places.Take(0);
            places.TakeFree(1);
            after = Allowed();
        });
        thread.Start();
        thread.Join();
        Assert.True(places[0] >= 0);
        Assert.NotEqual(places[0], places[1]);
        Assert.Equal(before, after);
    }

    private static string Allowed() => File.ReadLines("/proc/thread-self/status").First(x => x.StartsWith("Cpus_allowed:", StringComparison.Ordinal));
}
