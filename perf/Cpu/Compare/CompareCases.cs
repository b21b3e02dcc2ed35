using System.Globalization;

namespace Bellman.Perf.Compare;

/// <summary>Something that is measured by <c>bellman bench</c>, and by the peer where it can do the same.</summary>
/// <param name="Key">Its name: suite, size, and what varies, with slashes between them.</param>
/// <param name="Ours">Arguments of <c>bellman</c>.</param>
/// <param name="Peer">Arguments of the peer's program; null where there is nothing to compare with.</param>
/// <param name="Threads">Threads; 0 for all cores.</param>
internal sealed record CompareCase(string Key, IReadOnlyList<string> Ours, IReadOnlyList<string>? Peer = null, int Threads = 0)
{
    /// <summary>The first part of the key.</summary>
    public string Suite => Key[..Key.IndexOf('/')];
}

/// <summary>The suites.</summary>
internal static class CompareCases
{
    /// <summary>Limits of the machine, which are no case of a program.</summary>
    public const string Peaks = "peaks";

    /// <summary>Training steps of each objective.</summary>
    public const string Step = "step";

    /// <summary>Decoding.</summary>
    public const string Decode = "decode";

    /// <summary>Prompts, before anything is decoded.</summary>
    public const string Prompt = "prompt";

    /// <summary>Matrix products.</summary>
    public const string Gemm = "gemm";

    /// <summary>Where the time of a step goes.</summary>
    public const string Profile = "profile";

    /// <summary>How cost grows with length, batch, width and threads.</summary>
    public const string Growth = "growth";

    /// <summary>Every suite, in the order in which they run.</summary>
    public static IReadOnlyList<string> Suites { get; } = [Peaks, Step, Decode, Prompt, Gemm, Profile, Growth];

    /// <summary>What <see cref="Growth"/> varies: name of the axis, unit in words, values.</summary>
    public static IReadOnlyList<(string Axis, string Words, int[] Values)> Axes { get; } =
    [
        ("length", "tokens of a sequence (one sequence)", [128, 256, 512, 1024, 2048, 4096]),
        ("batch", "sequences of 256 tokens", [1, 2, 4, 8, 16, 32]),
        ("channels", "channels (8 x 256 tokens)", [64, 128, 256, 512, 1024]),
        ("decode-batch", "sequences decoded at once (S2, 64 new tokens)", [1, 4, 16, 64]),
    ];

    /// <summary>Cases that are run with one thread and with all.</summary>
    public static IReadOnlyList<string> ThreadCases { get; } = ["S1-sft", "S2-sft", "S1-oreo", "S2-decode"];

    /// <summary>Every case but the peaks.</summary>
    /// <param name="cores">Cores of the machine.</param>
    public static IReadOnlyList<CompareCase> All(int cores) => [.. Steps(), .. Decodes(), .. Prompts(), .. Gemms(), .. Profiles(), .. Growths(cores)];

    private static IEnumerable<CompareCase> Steps()
    {
        foreach ((string size, string steps, string[] objectives) in ((string, string, string[])[])
            [("S1", "5", ["sft", "dpo", "kto", "oreo"]), ("S2", "3", ["sft", "dpo", "kto", "oreo"]), ("S3", "3", ["fwdbwd"])])
            foreach (string objective in objectives)
                yield return new($"{Step}/{size}/{objective}", Ours(steps, "step", "--size", size, "--objective", objective), Peers(steps, "--mode", objective, "--size", size));
    }

    private static IEnumerable<CompareCase> Decodes()
    {
        foreach ((string size, string type, int batch, string repeats, string tokens, bool peer) in ((string, string, int, string, string, bool)[])
        [
            ("S1", "f32", 1, "20", "64", true), ("S2", "f32", 1, "10", "64", true), ("S3", "f32", 1, "3", "32", true), ("S3", "bf16", 1, "3", "32", true), ("S3", "int8", 1, "3", "32", false),
            ("S3", "bf16", 16, "2", "32", true),
        ])
        {
            string count = batch.ToString(CultureInfo.InvariantCulture);
            // The peer has no fast product of narrow weights on processors without instructions for them.
            string[] peers = ["--mode", "decode", "--size", size, "--new-tokens", tokens, .. batch == 1 ? (string[])[] : ["--batch", count]];
            yield return new($"{Decode}/{size}/{type}/{count}", Ours(repeats, "decode", "--size", size, "--dtype", type, "--batch", count, "--new-tokens", tokens), peer ? Peers(repeats, peers) : null);
        }
    }

    private static IEnumerable<CompareCase> Prompts()
    {
        foreach (string type in (string[])["f32", "bf16"])
            yield return new($"{Prompt}/S3/{type}/512", Ours("3", "decode", "--size", "S3", "--dtype", type, "--prompt-tokens", "512", "--new-tokens", "1"));
    }

    private static IEnumerable<CompareCase> Gemms()
    {
        // 256 rows of every product of S2 and S3 and of a head of each; 64 rows of the large head; 16 rows as in batched decoding.
        foreach (string shape in (string[])
            ["256x512x1024", "256x512x2816", "256x1408x512", "256x512x4096", "256x896x1152", "256x896x9728", "256x4864x896", "64x896x151936", "16x896x9728", "16x4864x896"])
            yield return new($"{Gemm}/{shape}", Ours("20", "gemm", "--shapes", shape), Peers("20", "--mode", "gemm", "--gemm", shape));
    }

    private static IEnumerable<CompareCase> Profiles()
    {
        foreach ((string size, string objective) in ((string, string)[])[("S1", "oreo"), ("S2", "oreo")])
            yield return new($"{Profile}/{size}/{objective}", Ours("5", "step", "--size", size, "--objective", objective, "--profile"));
    }

    private static IEnumerable<CompareCase> Growths(int cores)
    {
        foreach ((string axis, _, int[] values) in Axes)
            foreach (int value in values)
            {
                string text = value.ToString(CultureInfo.InvariantCulture);
                string[] args = axis switch
                {
                    "length" => ["step", "--size", "S1", "--objective", "sft", "--batch", "1", "--length", text],
                    "batch" => ["step", "--size", "S1", "--objective", "sft", "--batch", text],
                    "channels" => ["step", "--size", "S1", "--objective", "sft", "--channels", text],
                    _ => ["decode", "--size", "S2", "--batch", text, "--new-tokens", "64"],
                };
                yield return new($"{Growth}/{axis}/{text}", Ours("3", args));
            }
        foreach (string name in ThreadCases)
            foreach (int threads in new[] { 1, cores }.Distinct())
            {
                string[] parts = name.Split('-');
                string[] args = parts[1] == Decode ? ["decode", "--size", parts[0], "--new-tokens", "64"] : ["step", "--size", parts[0], "--objective", parts[1]];
                yield return new($"{Growth}/threads-{name}/{threads.ToString(CultureInfo.InvariantCulture)}", Ours("3", args), Threads: threads == cores ? 0 : threads);
            }
    }

    private static string[] Ours(string repeats, params ReadOnlySpan<string> arguments) => ["bench", .. arguments, "--steps", repeats, "--warmup", "1", "--json"];

    private static string[] Peers(string repeats, params ReadOnlySpan<string> arguments) => [.. arguments, "--steps", repeats, "--warmup", "1", "--strong"];
}
