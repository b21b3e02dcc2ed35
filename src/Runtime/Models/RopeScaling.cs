namespace Bellman.Runtime.Models;

/// <summary>
/// How rotary frequencies are stretched for long contexts. "linear" divides every frequency by <see cref="Factor"/>.
/// "llama3" keeps the fast ones (wavelength below OriginalMaxPositions / HighFrequencyFactor), divides the slow ones
/// (wavelength above OriginalMaxPositions / LowFrequencyFactor), and blends linearly in between (Llama 3.1 release notes).
/// </summary>
/// <param name="Type">"linear" or "llama3".</param>
/// <param name="Factor">Division of the slow frequencies; 1 or more.</param>
/// <param name="LowFrequencyFactor">llama3 only: where full division begins.</param>
/// <param name="HighFrequencyFactor">llama3 only: where division ends; above <paramref name="LowFrequencyFactor"/>.</param>
/// <param name="OriginalMaxPositions">llama3 only: context length in tokens before stretching.</param>
public sealed record RopeScaling(string Type, double Factor, double LowFrequencyFactor = 1, double HighFrequencyFactor = 1, int OriginalMaxPositions = 0)
{
    /// <summary>The name of division of all frequencies.</summary>
    public const string Linear = "linear";

    /// <summary>The name of division by wavelength.</summary>
    public const string Llama3 = "llama3";
}
