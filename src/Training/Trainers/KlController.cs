using System.Text.Json;
using Bellman.Runtime.Checkpoints;

namespace Bellman.Training.Trainers;

/// <summary>
/// The learned coefficient α = e^λ of a policy objective's KL regulariser that steers the divergence to a target (the option
/// <c>kl_targ</c> of the OREO authors' program): after each update λ takes one Adam step (β 0.9 and 0.999, ε 1e-8) on the loss
/// −λ·(KL − target), so it grows while the divergence is above the target. A value: <see cref="Next"/> returns the
/// controller of the following update, and its properties are all there is to save.
/// </summary>
/// <param name="Target">The divergence to hold, in nats per action token.</param>
/// <param name="LearningRate">Adam's learning rate for λ.</param>
/// <param name="LogCoefficient">λ.</param>
public readonly record struct KlController(double Target, double LearningRate, double LogCoefficient)
{
    private const string FileName = "kl_coefficient.json";

    /// <summary>Adam's first moment.</summary>
    public double FirstMoment { get; init; }

    /// <summary>Adam's second moment.</summary>
    public double SecondMoment { get; init; }

    /// <summary>Number of steps taken.</summary>
    public int Steps { get; init; }

    /// <summary>α, what the divergence is multiplied by in this update.</summary>
    public double Coefficient => Math.Exp(LogCoefficient);

    /// <summary>The controller after an update that measured a divergence.</summary>
    /// <param name="kl">Mean over sequences of the mean over action tokens, in nats.</param>
    public KlController Next(double kl)
    {
        const double Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8;
        double gradient = -(kl - Target);
        double first = Beta1 * FirstMoment + (1 - Beta1) * gradient, second = Beta2 * SecondMoment + (1 - Beta2) * gradient * gradient;
        int steps = Steps + 1;
        double corrected = first / (1 - Math.Pow(Beta1, steps)), spread = Math.Sqrt(second / (1 - Math.Pow(Beta2, steps)));
        return this with
        {
            LogCoefficient = LogCoefficient - LearningRate * corrected / (spread + Epsilon),
            FirstMoment = first,
            SecondMoment = second,
            Steps = steps,
        };
    }

    /// <summary>Writes the state into a checkpoint's folder.</summary>
    internal void Save(string folder) => AtomicFile.WriteText(Path.Combine(folder, FileName), JsonSerializer.Serialize(new State(LogCoefficient, FirstMoment, SecondMoment, Steps)));

    /// <summary>This controller with the state that <see cref="Save"/> wrote.</summary>
    internal KlController Load(string folder)
    {
        string path = Path.Combine(folder, FileName);
        try
        {
            State state = JsonSerializer.Deserialize<State>(File.ReadAllText(path));
            return this with { LogCoefficient = state.Log, FirstMoment = state.First, SecondMoment = state.Second, Steps = state.Steps };
        }
        catch (Exception error) when (error is IOException or JsonException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: expected the state of the KL coefficient: {error.Message.ReplaceLineEndings(" ")}; resume from another checkpoint.", error);
        }
    }

    private readonly record struct State(double Log, double First, double Second, int Steps);
}
