using System.Runtime.InteropServices;
using System.Text.Json;
using Bellman.Tests;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

/// <summary>The option --device of every command that runs models: a card that is not there, and the CUDA kernels in the simulator.</summary>
public sealed class DeviceTests(TinyModel model) : IClassFixture<TinyModel>
{
    private readonly string _lines = model.Write("lines.jsonl", """{"prompt":"2+2=","response":"4","reward":1}""", """{"prompt":"2+2=","response":"55","reward":0}""", """{"prompt":"1+2=","response":"3","reward":1}""");

    private readonly string _problems = model.Write("problems.jsonl", """{"prompt":"1+1=","reference":"2"}""", """{"prompt":"Hm: 3","reference":"3"}""");

    // The report's samples are short where the model takes few tokens.
    private readonly string _short = model.Add("short", seed: 4, positions: 12);

    public static TheoryData<string> Commands => ["train", "iterate", "rollout", "eval", "generate", "score", "value", "bench"];

    [Theory]
    [MemberData(nameof(Commands))]
    public void WithoutADriverCudaIsRefusedInOneLine(string command)
    {
        if (NativeLibrary.TryLoad("libcuda.so.1", out _) || NativeLibrary.TryLoad("nvcuda.dll", out _)) Assert.Skip("this machine has a driver");
        string output = model.File("refused-" + command);
        CliRun.Of([.. Arguments(command, output), "--device", "cuda"]).Fails(1, "CUDA: no driver", OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1", "or use cpu");
        Assert.False(File.Exists(output));
        // Auto takes the CPU.
        if (command is "generate" or "score") CliRun.Of([.. Arguments(command, output), "--device", "auto"]).Succeeds();
    }

    [Fact]
    public void UnknownDevicesAreWrongUsage() =>
        CliRun.Of("generate", "--model", model.Policy, "--prompt", "a", "--device", "gpu").Fails(2, "--device: expected auto, cpu, cuda, simulator, received 'gpu'");

    [Fact]
    public void ScoresOfTheSimulatedCardAreTheCpusWithinBfloat16()
    {
        JsonElement[] Scores(string device) =>
            [.. CliRun.Of("score", "--model", model.Policy, "--value", model.Value, "--input", _lines, "--out", "-", "--device", device).Succeeds().Lines.Select(x => JsonDocument.Parse(x).RootElement)];
        foreach ((JsonElement cpu, JsonElement card) in Scores("cpu").Zip(Scores("simulator")))
            foreach (string name in (string[])["logprobs", "values"])
                TensorComparer.Close(Numbers(cpu, name), Numbers(card, name), 0.1, 0.05, name);
    }

    [Theory]
    [InlineData("rollout")]
    [InlineData("eval")]
    [InlineData("generate")]
    [InlineData("bench")]
    public void CommandsRunOnTheSimulatedCard(string command) => CliRun.Of([.. Arguments(command, model.File("simulated-" + command)), "--device", "simulator"]).Succeeds();

    [Fact]
    public void ARunOnTheSimulatedCardIsResumedBitForBit()
    {
        string whole = model.File("whole"), parts = model.File("parts");
        CliRun run = CliRun.Of([.. Arguments("train", whole), "--device", "simulator", "--json"]).Succeeds();
        Assert.Equal("simulator", JsonDocument.Parse(run.Lines[^1]).RootElement.GetProperty("device").GetString());
        CliRun.Of([.. Arguments("train", parts), "--device", "simulator"]).Succeeds();
        Directory.Delete(Path.Combine(parts, "checkpoints", "step-2"), recursive: true);
        Directory.Delete(Path.Combine(parts, "policy"), recursive: true);
        // A run belongs to its recipe, the device included.
        CliRun.Of([.. Arguments("train", parts), "--device", "cpu", "--resume"]).Fails(1, "another recipe", "device");
        CliRun.Of([.. Arguments("train", parts), "--device", "simulator", "--resume"]).Succeeds();
        foreach (string name in (string[])["policy", "value"])
            Assert.Equal(File.ReadAllBytes(Path.Combine(whole, name, "model.safetensors")), File.ReadAllBytes(Path.Combine(parts, name, "model.safetensors")));
    }

    [Fact]
    public void InspectPlansForACardThatIsNotThere()
    {
        string recipe = Recipe("unused");
        JsonElement cpu = JsonDocument.Parse(CliRun.Of("inspect", recipe, "--json", "--device", "cpu").Succeeds().Lines[^1]).RootElement;
        JsonElement card = JsonDocument.Parse(CliRun.Of("inspect", recipe, "--json", "--device", "cuda").Succeeds().Lines[^1]).RootElement;
        Assert.Equal("cpu", cpu.GetProperty("device").GetString());
        if (card.GetProperty("device").GetString() == "a card") Assert.StartsWith("CUDA: ", card.GetProperty("device_problem").GetString(), StringComparison.Ordinal);
        Assert.Contains("policy: bfloat16 and float32 weights, gradients", card.GetProperty("memory").EnumerateObject().Select(x => x.Name));
        CliRun.Of("inspect", "--model", model.Policy, "--device", "cpu").Fails(2, "--device belongs to a recipe");
    }

    private static float[] Numbers(JsonElement line, string name) => [.. line.GetProperty(name).EnumerateArray().Select(x => x.GetSingle())];

    private string[] Arguments(string command, string output) => command switch
    {
        "train" => ["train", Recipe(output)],
        "iterate" => ["iterate", Recipe(output), "--set", $"iterate.problems={_problems}", "iterate.format=jsonl"],
        "rollout" => ["rollout", "--model", model.Policy, "--data", _problems, "--format", "jsonl", "--out", output, "--samples", "2", "--max-tokens", "4"],
        "eval" => ["eval", "--model", model.Policy, "--value", model.Value, "--data", _problems, "--format", "jsonl", "--search", "beam", "--width", "2", "--max-tokens", "5"],
        "generate" => ["generate", "--model", model.Policy, "--prompt", "2+2=", "--max-tokens", "4"],
        "score" => ["score", "--model", model.Policy, "--input", _lines, "--out", output],
        "value" => ["value", "eval", model.Value, _lines],
        _ => ["bench", "gemm", "--shapes", "8x16x32", "--steps", "1", "--warmup", "0"],
    };

    private string Recipe(string output) => model.Write(
        $"{Path.GetFileName(output)}.yaml", "objective: oreo", $"out: {output}", "model:", $"  policy: {_short}", "data:", $"  train: {_lines}", "  format: response", "train:", "  steps: 2", "  batch_size: 3",
        "  checkpoint_every: 1");
}
