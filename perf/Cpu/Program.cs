using System.CommandLine;
using Bellman.Kernels;
using Bellman.Perf.Compare;
using Bellman.Perf.Ops;

namespace Bellman.Perf;

/// <summary>The performance suite's command.</summary>
internal static class Program
{
    private static int Main(string[] args)
    {
        var root = new RootCommand("measures Bellman on this machine's processor");
        root.Add(OpsCommand.Create());
        root.Add(CompareCommand.Create());
        root.Add(CompareCommand.CreatePeaks());
        try
        {
            return root.Parse(args).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
        }
        catch (BellmanException error)
        {
            Console.Error.WriteLine($"perf: {error.Message}");
            return 1;
        }
    }
}
