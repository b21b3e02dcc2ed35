using System.Globalization;
using System.Text.Json;
using Bellman.Kernels;

namespace Bellman.Perf.Compare;

/// <summary>The command <c>bellman</c> as built beside this program.</summary>
internal static class BellmanProgram
{
    /// <summary>Runs <c>bellman bench</c> and reads its result.</summary>
    /// <param name="arguments">Arguments.</param>
    /// <param name="threads">Threads; 0 for all cores.</param>
    /// <exception cref="BellmanException">It failed.</exception>
    public static (Sample Sample, IReadOnlyList<ProfilePart> Profile) Run(IReadOnlyList<string> arguments, int threads)
    {
        string command = Path.Combine(AppContext.BaseDirectory, "bellman.dll");
        string[] all = [command, .. arguments];
        JsonElement json = threads == 0 ? ChildRun.Json("dotnet", all) : ChildRun.Json("dotnet", all, ("DOTNET_PROCESSOR_COUNT", threads.ToString(CultureInfo.InvariantCulture)));
        return Read(json);
    }

    /// <summary>What the last line of <c>bellman bench</c> says.</summary>
    internal static (Sample Sample, IReadOnlyList<ProfilePart> Profile) Read(JsonElement json)
    {
        double? Optional(JsonElement from, string name) => from.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;
        // Prompts are timed beside decoding where they are asked for, and are what was asked for then.
        JsonElement rates = json.TryGetProperty("prompts", out JsonElement prompts) ? prompts : json;
        double gflops = rates.GetProperty("gflops").GetDouble();
        var sample = new Sample(Optional(rates, "tokens_per_second") ?? gflops, json.GetProperty("peak_rss_mb").GetDouble(), gflops, Optional(rates, "share_of_peak"),
            Optional(rates, "read_gbps"), Optional(rates, "share_of_read_loop"));
        if (!json.TryGetProperty("profile", out JsonElement profile)) return (sample, []);
        return (sample, [.. profile.EnumerateArray().Select(x => new ProfilePart(x.GetProperty("part").GetString()!, x.GetProperty("share").GetDouble(), Optional(x, "gflops")))]);
    }
}

/// <summary>The peer: a Python script with PyTorch that does the same work.</summary>
internal sealed class PeerProgram
{
    private readonly string _python, _script;

    private PeerProgram(string python, string script, string words) => (_python, _script, Words) = (python, script, words);

    /// <summary>Name and version.</summary>
    public string Words { get; private set; }

    /// <summary>Looks for the script and for a Python that has torch.</summary>
    /// <param name="script">Path of the script.</param>
    /// <param name="pythons">Pythons to try, in order.</param>
    /// <param name="missing">Why there is no peer.</param>
    /// <returns>Null where there is none.</returns>
    public static PeerProgram? Find(string script, IReadOnlyList<string> pythons, out string missing)
    {
        missing = "";
        if (!File.Exists(script))
        {
            missing = $"the script {script} is not there; name one with --peer";
            return null;
        }
        var tried = new List<string>();
        foreach (string python in pythons)
        {
            try
            {
                (string output, string error, int code) = ChildRun.Run(python, ["-c", "import torch; print(torch.__version__)"]);
                if (code == 0) return new PeerProgram(python, script, $"PyTorch {ChildRun.LastLine(output)}");
                tried.Add($"{python}: {ChildRun.LastLine(error)}");
            }
            catch (BellmanException error)
            {
                tried.Add(error.Message);
            }
        }
        missing = $"no Python with torch ({string.Join("; ", tried)}); name one with --python";
        return null;
    }

    /// <summary>Runs the peer and reads its result.</summary>
    /// <exception cref="BellmanException">It failed.</exception>
    public Sample Run(IReadOnlyList<string> arguments)
    {
        JsonElement json = ChildRun.Json(_python, [_script, .. arguments]);
        if (json.TryGetProperty("blas", out JsonElement blas) && blas.TryGetProperty("core", out JsonElement core) && !Words.Contains("BLAS", StringComparison.Ordinal))
            Words += $", OpenBLAS for {core.GetString()} ({blas.GetProperty("threading").GetString()})";
        return Read(json);
    }

    /// <summary>What the last line of the script says.</summary>
    internal static Sample Read(JsonElement json)
    {
        double memory = json.GetProperty("peak_rss_mib").GetDouble();
        if (json.TryGetProperty("rows", out JsonElement rows)) return new Sample(rows[0].GetProperty("gflops_median").GetDouble(), memory);
        return new Sample(json.GetProperty("tokens_per_s").GetDouble(), memory);
    }
}
