using System.Text.Json;
using Bellman.Runtime.Checkpoints;

namespace Bellman.Training.Trainers;

/// <summary>
/// α of the policy's regulariser: a constant, or steered towards a KL by Adam (β₁ 0.9, β₂ 0.999) on
/// log α with the loss −log α · (KL − target), as in the OREO authors' program.
/// </summary>
internal sealed class KlCoefficient(OreoOptions options)
{
    private const string FileName = "kl_coefficient.json";
    private const double Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8;

    private State _state = new(Math.Log(Math.Max(options.KlCoefficient, 1e-12)), 0, 0, 0);

    /// <summary>α in force.</summary>
    public double Value => options.TargetKl > 0 ? Math.Exp(_state.Log) : options.KlCoefficient;

    /// <summary>One step for the KL of an update.</summary>
    public void Update(double kl)
    {
        if (options.TargetKl <= 0 || !double.IsFinite(kl)) return;
        double gradient = -(kl - options.TargetKl);
        int step = _state.Steps + 1;
        double m = Beta1 * _state.First + (1 - Beta1) * gradient, v = Beta2 * _state.Second + (1 - Beta2) * gradient * gradient;
        double mean = m / (1 - Math.Pow(Beta1, step)), deviation = Math.Sqrt(v / (1 - Math.Pow(Beta2, step)));
        _state = new State(_state.Log - options.KlCoefficientLearningRate * mean / (deviation + Epsilon), m, v, step);
    }

    public void Save(string folder)
    {
        if (options.TargetKl > 0) AtomicFile.WriteText(Path.Combine(folder, FileName), JsonSerializer.Serialize(_state));
    }

    public void Load(string folder)
    {
        if (options.TargetKl <= 0) return;
        string path = Path.Combine(folder, FileName);
        try
        {
            _state = JsonSerializer.Deserialize<State>(File.ReadAllText(path));
        }
        catch (Exception error) when (error is IOException or JsonException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: expected the state of the KL coefficient: {error.Message.ReplaceLineEndings(" ")}; resume from another checkpoint.", error);
        }
    }

    private readonly record struct State(double Log, double First, double Second, int Steps);
}
