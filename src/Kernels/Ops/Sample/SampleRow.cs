namespace Bellman.Kernels.Ops.Sample;

/// <summary>How to choose one token.</summary>
/// <param name="Temperature">Divides the logits; 0: greedy, ties go to the lowest id.</param>
/// <param name="TopK">Keep the K largest logits (ties: lowest ids); 0: all.</param>
/// <param name="TopP">Of what top-k keeps, keep the smallest set of most probable tokens that holds at least this share; 1: all.</param>
/// <param name="Seed">The run's seed.</param>
/// <param name="Stream">Which sequence of the run.</param>
/// <param name="Position">Which token of the sequence.</param>
public readonly record struct SampleRow(float Temperature, int TopK, float TopP, ulong Seed, ulong Stream, uint Position)
{
    /// <summary>Columns of the tensor that <see cref="Sample.Next"/> reads.</summary>
    public const int Words = 9;

    /// <summary>Column of <see cref="Position"/>, for who moves it on in the device's memory.</summary>
    internal const int PositionWord = 3;

    /// <summary>Writes these settings for upload to the tensor that <see cref="Sample.Next"/> reads.</summary>
    /// <param name="source">Row of the logits to choose from: several samples of one state need its logits once.</param>
    /// <param name="words"><see cref="Words"/> places.</param>
    /// <exception cref="BellmanException">A setting is out of range.</exception>
    public void Write(int source, Span<int> words)
    {
        if (!float.IsFinite(Temperature) || Temperature < 0 || TopK < 0 || !(TopP > 0 && TopP <= 1))
            throw new BellmanException($"Sample.Next: expected temperature ≥ 0, top-k ≥ 0 and 0 < top-p ≤ 1, received {Temperature}, {TopK} and {TopP}.");
        words[0] = BitConverter.SingleToInt32Bits(Temperature);
        words[1] = TopK;
        words[2] = BitConverter.SingleToInt32Bits(TopP);
        words[PositionWord] = (int)Position;
        (words[4], words[5]) = ((int)Seed, (int)(Seed >> 32));
        (words[6], words[7]) = ((int)Stream, (int)(Stream >> 32));
        words[8] = source;
    }

    /// <summary>Reads what <see cref="Write"/> wrote.</summary>
    internal static SampleRow Read(ReadOnlySpan<int> words, out int source)
    {
        source = words[8];
        return new(
            BitConverter.Int32BitsToSingle(words[0]), words[1], BitConverter.Int32BitsToSingle(words[2]), (uint)words[4] | (ulong)(uint)words[5] << 32,
            (uint)words[6] | (ulong)(uint)words[7] << 32, (uint)words[PositionWord]);
    }
}
