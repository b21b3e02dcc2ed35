using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Bellman.Cli.Output;
using Bellman.Kernels;
using Bellman.Kernels.Cpu;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman bench</c>.</summary>
internal static class BenchCommand
{
    private const string Step = "step", Decode = "decode", Gemm = "gemm", Search = "search";

    private static readonly string[] Measurements = [Step, Decode, Gemm, Search];

    private static readonly Dictionary<string, BenchObjective> Objectives = new()
    {
        ["sft"] = BenchObjective.Sft, ["dpo"] = BenchObjective.Dpo, ["kto"] = BenchObjective.Kto, ["oreo"] = BenchObjective.Oreo, ["fwdbwd"] = BenchObjective.ForwardBackward,
    };

    public static Command Create(Terminal terminal)
    {
        var measurement = new Argument<string>("MEASUREMENT")
        {
            Description = "step: training updates; decode: greedy decoding; gemm: matrix products x·Wᵀ; search: beam search three ways.",
            CustomParser = result =>
            {
                string text = result.Tokens[0].Value;
                if (!Measurements.Contains(text)) result.AddError($"expected {string.Join(", ", Measurements)} as the measurement, received '{text}'.");
                return text;
            },
        };
        Option<string> size = Opt.Choice("--size", [.. BenchSize.All.Select(x => x.Name)], "S1", "step, decode, search: model and batch.");
        Option<string> objective = Opt.Choice("--objective", [.. Objectives.Keys], "sft", "step: what an update does.");
        Option<int?> channels = Opt.OptionalNumber("--channels", "C", 1, 16384, "step, decode: channels of the hidden state, other than the size's; heads and feed-forward layer grow along.");
        Option<int?> length = Opt.OptionalNumber("--length", "L", 2, 16384, "step: tokens of a sequence, other than the size's.");
        Option<int?> batch = Opt.OptionalNumber("--batch", "N", 1, 512, "step: sequences of an update, other than the size's; decode: sequences at once, default 1.");
        Option<string> dtype = Opt.Choice("--dtype", [.. WeightsOpt.Formats.Keys], "f32", "decode: how the weights lie in memory.");
        Option<int> newTokens = Opt.Number("--new-tokens", "N", 64, 1, 32767, "decode: tokens drawn for each sequence.");
        Option<int> width = Opt.Number("--width", "B", 4, 1, 64, "search: paths kept, and steps drawn from each.");
        Option<int> problems = Opt.Number("--problems", "N", 64, 1, 4096, "search: problems at once.");
        Option<int?> promptTokens = Opt.OptionalNumber("--prompt-tokens", "N", 1, 16384, "search: tokens of a prompt, default 128; decode: also time prompts of so many tokens.");
        Option<int> stepTokens = Opt.Number("--step-tokens", "N", 16, 1, 16384, "search: tokens of a step.");
        Option<int> depth = Opt.Number("--depth", "N", 8, 1, 1024, "search: steps of a solution.");
        Option<int> memory = Opt.Number("--memory", "MB", 8192, 1, int.MaxValue, "search: limit for keys and values, each way.");
        Option<BenchShape[]?> shapes = Shapes();
        Option<int> steps = Opt.Number("--steps", "N", 10, 1, int.MaxValue, "Timed repeats.");
        Option<int> warmUp = Opt.Number("--warmup", "N", 2, 0, int.MaxValue, "Repeats before them; half a second of repeats at least.");
        Option<bool> recompute = Opt.Flag("--recompute", "step: compute activations again in the backward instead of keeping them, as train.recompute does.");
        Option<bool> profile = Opt.Flag("--profile", "step: say where the time goes, by op, over as many repeats again, and who holds the memory.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var device = new DeviceOpts();
        var command = new CliCommand("bench", "measures speed and memory of this machine on random weights and tokens")
        {
            Notes =
            [
                "Sizes: " + string.Join("; ", BenchSize.All.Select(Describe)) + ".",
                "Tokens of a step are batch x length positions, counted once whatever number of models runs over them. GFLOP/s count two operations for each weight in a matrix product and token, "
                + "twice that backward, and attention without its mask. The peak is what fused multiply-adds reach in registers on all threads, measured in the same run. Rates are of the median repeat. fwdbwd leaves out "
                + "the optimiser. gemm packs W once before it times. decode counts the bytes of all weights and of keys and values for each token of the batch, and sets them beside a loop that only reads memory, run after each repeat; small models fit into caches and pass it. search runs once each way: a tree that all paths share, caches of each path's own, and the whole text "
                + "again for each step; its times are comparable within one run only.",
            ],
            Examples =
            [
                ("bellman bench step --size S1 --objective oreo", "tokens/s, GFLOP/s, share of the machine's peak, memory"),
                ("bellman bench decode --size S3 --dtype bf16 --batch 16 --new-tokens 64 --steps 3", "new tokens/s of 16 sequences"),
                ("bellman bench gemm --shapes 256x896x4864,16x256x1408 --json", "each shape's GFLOP/s"),
            ],
        };
        command.Arguments.Add(measurement);
        command.Add(size, objective, channels, length, batch, dtype, newTokens, width, problems, promptTokens, stepTokens, depth, memory, shapes, steps, warmUp, recompute, profile);
        device.AddTo(command);
        command.Add(json);
        command.SetAction(parsed =>
        {
            string what = parsed.GetValue(measurement)!;
            Refuse(parsed, what, [Step, Decode, Search], size);
            Refuse(parsed, what, [Search], width, problems, stepTokens, depth, memory);
            Refuse(parsed, what, [Decode, Search], promptTokens);
            Refuse(parsed, what, [Step, Decode, Gemm], steps, warmUp);
            Refuse(parsed, what, [Step], objective, length, recompute, profile);
            Refuse(parsed, what, [Step, Decode], channels, batch);
            Refuse(parsed, what, [Decode], dtype, newTokens);
            Refuse(parsed, what, [Gemm], shapes);
            Device place = device.Open(parsed, terminal);
            if (place != Device.Cpu && parsed.GetResult(dtype) is { Implicit: false }) throw new UsageException($"--dtype belongs to the CPU; {place.Name} has a type of its own.");
            if (place != Device.Cpu && parsed.GetValue(profile)) throw new UsageException($"--profile times the CPU's ops, not those of {place.Name}.");
            string weights = place == Device.Cpu ? parsed.GetValue(dtype)! : place.ActivationType.ToString().ToLowerInvariant();
            var job = new BenchJob { Device = place, Repeats = parsed.GetValue(steps), WarmUp = parsed.GetValue(warmUp), Recomputes = parsed.GetValue(recompute), Profiles = parsed.GetValue(profile) };
            BenchSize chosen = BenchSize.All.First(x => x.Name == parsed.GetValue(size));
            if (parsed.GetValue(channels) is { } hidden) chosen = chosen.WithChannels(hidden);
            int sequences = parsed.GetValue(batch) ?? (what == Step ? chosen.Batch : 1);
            if (what == Step) chosen = (chosen with { Batch = sequences, Length = parsed.GetValue(length) ?? chosen.Length }).For(Objectives[parsed.GetValue(objective)!]);
            if (what == Search)
            {
                var search = new BenchSearchJob(chosen, new BenchSearchOptions
                {
                    Width = parsed.GetValue(width), Problems = parsed.GetValue(problems), PromptTokens = parsed.GetValue(promptTokens) ?? new BenchSearchOptions().PromptTokens, StepTokens = parsed.GetValue(stepTokens),
                    Steps = parsed.GetValue(depth), MaxBytes = (long)parsed.GetValue(memory) << 20, Device = place,
                });
                BenchSearchText.Write(terminal.Output, Progress.Run(terminal, progress => search.Run(progress, terminal.Cancellation)), parsed.GetValue(json));
                return ExitCodes.Success;
            }
            BenchShape[] products = parsed.GetValue(shapes) ?? [];
            if (what == Gemm && products.Length == 0) throw new UsageException("gemm needs --shapes MxKxN,…, such as 256x896x4864.");
            BenchResult result = Progress.Run(terminal, progress => what switch
            {
                Step => job.Step(chosen, Objectives[parsed.GetValue(objective)!], progress, terminal.Cancellation),
                Decode => job.Decode(chosen, WeightsOpt.Formats[parsed.GetValue(dtype)!], sequences, parsed.GetValue(newTokens), parsed.GetValue(promptTokens) ?? 1, progress, terminal.Cancellation),
                _ => job.Gemm(products, progress, terminal.Cancellation),
            });
            string title = what switch
            {
                Step => $"step {chosen.Name} {parsed.GetValue(objective)}, {chosen.Batch} x {chosen.Length} tokens{(parsed.GetValue(recompute) ? ", recomputed" : "")}",
                Decode => $"decode {chosen.Name} {weights}, batch {sequences}, {parsed.GetValue(newTokens)} new tokens",
                _ => "gemm",
            };
            if (!parsed.GetValue(json)) WriteText(terminal.Output, title, result, place);
            else WriteJson(terminal.Output, result, line =>
            {
                line.WriteString("measurement", what);
                line.WriteString("device", place.Name);
                if (what != Gemm) line.WriteString("size", chosen.Name);
                if (what == Step)
                {
                    line.WriteString("objective", parsed.GetValue(objective));
                    line.WriteNumber("length", chosen.Length);
                    if (parsed.GetValue(recompute)) line.WriteBoolean("recompute", true);
                }
                if (what != Gemm)
                {
                    line.WriteNumber("batch", what == Step ? chosen.Batch : sequences);
                    line.WriteNumber("channels", chosen.Model.HiddenSize);
                }
                if (what != Decode) return;
                line.WriteString("dtype", weights);
                line.WriteNumber("new_tokens", parsed.GetValue(newTokens));
            });
            return ExitCodes.Success;
        });
        return command;
    }

    private static Option<BenchShape[]?> Shapes() => new("--shapes")
    {
        HelpName = "MxKxN,…", Description = "gemm: x [M, K] times the transpose of W [N, K].",
        CustomParser = result =>
        {
            var shapes = new List<BenchShape>();
            foreach (string text in result.Tokens[0].Value.Split(','))
            {
                if (BenchShape.TryParse(text, out BenchShape shape)) shapes.Add(shape);
                else result.AddError($"--shapes: expected MxKxN with whole numbers from 1 and at most 2^30 elements a matrix, received '{text}'.");
            }
            return [.. shapes];
        },
    };

    /// <summary>An option that the measurement does not look at is a mistake.</summary>
    private static void Refuse(ParseResult parsed, string what, string[] owners, params ReadOnlySpan<Option> options)
    {
        if (owners.Contains(what)) return;
        foreach (Option option in options)
            if (parsed.GetResult(option) is { Implicit: false }) throw new UsageException($"{option.Name} belongs to {string.Join(" and ", owners)}, not to {what}.");
    }

    private static string Describe(BenchSize size) =>
        $"{size.Name} {size.Model.HiddenSize} channels, {size.Model.Layers} layers, vocabulary {size.Model.VocabularySize}, {size.Batch} x {size.Length} tokens";

    private static void WriteText(TextWriter output, string title, BenchResult result, Device device)
    {
        IReadOnlyList<double> seconds = result.Times.Seconds;
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{title}: median {1e3 * result.Times.MedianSeconds:0.###} ms of {seconds.Count}, from {1e3 * seconds.Min():0.###} to {1e3 * seconds.Max():0.###} ms"));
        if (result is BenchGemmResult products)
            foreach ((BenchShape shape, BenchTimes times) in products.Shapes)
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {shape,-18} {1e3 * times.MedianSeconds,10:0.0000} ms {times.Gflops,8:0.0} GFLOP/s{Share(times, result)}"));
        if (result.Times.Tokens > 0) output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{result.Times.TokensPerSecond:N1} tokens/s"));
        output.WriteLine(result.PeakGflops is { } peak
            ? string.Create(CultureInfo.InvariantCulture, $"{result.Times.Gflops:0.0} GFLOP/s, {result.ShareOfPeak:P1} of the peak of {peak:0} ({CpuFacts.Threads} threads, {CpuFacts.VectorBits}-bit vectors)")
            : string.Create(CultureInfo.InvariantCulture, $"{result.Times.Gflops:0.0} GFLOP/s on {device.Description}"));
        if (result is BenchDecodeResult decoded)
        {
            if (decoded.ReadLoopGbps is { } loop)
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{decoded.ReadGbps:0.0} GB/s read, {decoded.ShareOfReadLoop:P1} of the {loop:0.0} GB/s of a loop that only reads"));
            if (decoded.Prompts is { } prompts)
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"prompts: {prompts.TokensPerSecond:N1} tokens/s, {prompts.Gflops:0.0} GFLOP/s{(result.PeakGflops is { } most ? string.Create(CultureInfo.InvariantCulture, $", {prompts.Gflops / most:P1} of the peak") : "")}"));
        }
        output.WriteLine($"{Sizes.Text(result.PeakMemoryBytes)} of memory at most");
        if (result.Profile is not { } profile) return;
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"where {1e3 * profile.Seconds / profile.Repeats:0.###} ms of a repeat go:"));
        foreach (CpuProfilePart part in profile.Parts)
        {
            string rate = part.Flops == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $" {part.Flops / part.Seconds / 1e9,8:0.0} GFLOP/s");
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"  {part.Name,-28} {part.Runs / (double)profile.Repeats,6:0.#} runs {1e3 * part.Seconds / profile.Repeats,9:0.000} ms {part.Seconds / profile.Seconds,6:P1}{rate}"));
        }
        double alone = profile.Seconds - profile.Parts.Sum(x => x.Seconds);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {"one thread alone",-40} {1e3 * alone / profile.Repeats,9:0.000} ms {alone / profile.Seconds,6:P1}"));
        if (result.Memory is not { } memory) return;
        output.WriteLine($"who holds the memory on {device.Name}:");
        foreach (MemoryPart part in memory) output.WriteLine($"  {part.Name,-56} {Sizes.Text(part.Bytes),9}");
        if (device == Device.Cpu) output.WriteLine($"  {"runtime, program, packed weights",-56} {Sizes.Text(result.PeakMemoryBytes - memory.Sum(x => x.Bytes)),9}");
    }

    private static string Share(BenchTimes times, BenchResult result) => result.PeakGflops is { } peak ? string.Create(CultureInfo.InvariantCulture, $" {times.Gflops / peak,6:P1}") : "";

    private static void WriteJson(TextWriter output, BenchResult result, Action<Utf8JsonWriter> head) => output.WriteLine(JsonLineWriter.Format(json =>
    {
        head(json);
        if (result.Times.Tokens > 0) json.WriteNumber("tokens_per_second", Math.Round(result.Times.TokensPerSecond, 2));
        WriteRate(json, result.Times, result.PeakGflops);
        if (result.PeakGflops is { } peak) json.WriteNumber("peak_gflops", Math.Round(peak, 1));
        json.WriteNumber("peak_rss_mb", Math.Round(result.PeakMemoryBytes / 1048576.0, 1));
        json.WriteNumber("threads", CpuFacts.Threads);
        json.WriteNumber("vector_bits", CpuFacts.VectorBits);
        if (result is BenchDecodeResult decoded)
        {
            json.WriteNumber("read_gbps", Digits(decoded.ReadGbps));
            if (decoded is { ReadLoopGbps: { } loop, ShareOfReadLoop: { } share })
            {
                json.WriteNumber("read_loop_gbps", Digits(loop));
                json.WriteNumber("share_of_read_loop", Digits(share));
            }
            json.WriteNumber("weights_mb", Math.Round(decoded.WeightBytes / 1048576.0, 1));
            if (decoded.Prompts is { } prompts)
            {
                json.WriteStartObject("prompts");
                json.WriteNumber("tokens_per_second", Math.Round(prompts.TokensPerSecond, 2));
                WriteRate(json, prompts, result.PeakGflops);
                json.WriteEndObject();
            }
        }
        if (result.Profile is { } profile)
        {
            json.WriteStartArray("profile");
            foreach (CpuProfilePart part in profile.Parts)
            {
                json.WriteStartObject();
                json.WriteString("part", part.Name);
                json.WriteNumber("share", Digits(part.Seconds / profile.Seconds));
                json.WriteNumber("seconds", Digits(part.Seconds / profile.Repeats));
                if (part.Flops > 0) json.WriteNumber("gflops", Digits(part.Flops / part.Seconds / 1e9));
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        if (result.Memory is { } memory)
        {
            json.WriteStartArray("memory");
            foreach (MemoryPart part in memory)
            {
                json.WriteStartObject();
                json.WriteString("part", part.Name);
                json.WriteNumber("mb", Math.Round(part.Bytes / 1048576.0, 1));
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        if (result is not BenchGemmResult products) return;
        json.WriteStartArray("shapes");
        foreach ((BenchShape shape, BenchTimes times) in products.Shapes)
        {
            json.WriteStartObject();
            json.WriteString("shape", shape.ToString());
            WriteRate(json, times, result.PeakGflops);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }));

    private static void WriteRate(Utf8JsonWriter json, BenchTimes times, double? peakGflops)
    {
        // Significant digits rather than decimals: a tiny product must not round to nothing.
        json.WriteNumber("gflops", Digits(times.Gflops));
        if (peakGflops is { } peak) json.WriteNumber("share_of_peak", Digits(times.Gflops / peak));
        json.WriteNumber("median_seconds", Digits(times.MedianSeconds));
        json.WriteStartArray("seconds");
        foreach (double seconds in times.Seconds) json.WriteNumberValue(Digits(seconds));
        json.WriteEndArray();
    }

    private static double Digits(double value) => double.Parse(value.ToString("G6", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
