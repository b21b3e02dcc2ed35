namespace Bellman.Kernels.Ops.AdamW;

/// <summary>Settings of one AdamW step. In double, because 1 − β₂ loses five digits when β₂ is rounded to float first.</summary>
/// <param name="LearningRate">η.</param>
/// <param name="Beta1">β₁, decay of the first moment, in [0, 1).</param>
/// <param name="Beta2">β₂, decay of the second moment, in [0, 1).</param>
/// <param name="Epsilon">ε, added outside the square root.</param>
/// <param name="WeightDecay">λ, decoupled.</param>
/// <param name="ClipNorm">Largest norm over all gradients; larger ones are scaled down to it. 0 for no limit.</param>
public readonly record struct AdamWSettings(double LearningRate, double Beta1, double Beta2, double Epsilon, double WeightDecay, double ClipNorm = 0)
{
    /// <summary>Columns of the tensor that <see cref="AdamW.Step"/> reads.</summary>
    public const int Numbers = 8;

    /// <summary>
    /// Writes what a step needs of these settings, for upload to the tensor that <see cref="AdamW.Step"/> reads: 1 − ηλ, 1 − β₁, β₂,
    /// 1 − β₂, −η/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ), ε, and the largest norm.
    /// </summary>
    /// <param name="step">t, 1 for the first step.</param>
    /// <param name="numbers"><see cref="Numbers"/> places.</param>
    /// <exception cref="BellmanException">A setting is out of range.</exception>
    public void Write(int step, Span<double> numbers)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(step, 1);
        if (!(Beta1 is >= 0 and < 1 && Beta2 is >= 0 and < 1 && Epsilon >= 0))
            throw new BellmanException($"AdamW.Step: betas must lie in [0, 1) and epsilon must not be negative, received {this}.");
        numbers[0] = 1 - LearningRate * WeightDecay;
        numbers[1] = 1 - Beta1;
        numbers[2] = Beta2;
        numbers[3] = 1 - Beta2;
        numbers[4] = -LearningRate / (1 - Math.Pow(Beta1, step));
        numbers[5] = 1 / Math.Sqrt(1 - Math.Pow(Beta2, step));
        numbers[6] = Epsilon;
        numbers[7] = ClipNorm;
    }
}
