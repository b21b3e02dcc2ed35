using System.Numerics;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>
/// What one instruction asked of memory: requests of a warp, and the units that they took against the fewest that could have
/// carried the same bytes. Units are 32-byte sectors of device memory or waves of shared memory.
/// </summary>
internal struct AccessCounts
{
    public long Requests, Units, Ideal;
}

/// <summary>Counts sectors and waves of one request.</summary>
internal static class AccessCounting
{
    private const int SectorBytes = 32, Banks = 32, BankBytes = 4;

    /// <summary>Distinct sectors that the lanes touch.</summary>
    public static void Global(ref AccessCounts counts, ReadOnlySpan<long> addresses, uint mask, int bytes)
    {
        Span<long> sectors = stackalloc long[64];
        int found = 0;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            long first = addresses[BitOperations.TrailingZeroCount(left)], last = (first + bytes - 1) / SectorBytes;
            for (long sector = first / SectorBytes; sector <= last; sector++)
                if (!sectors[..found].Contains(sector)) sectors[found++] = sector;
        }
        counts.Requests++;
        counts.Units += found;
        counts.Ideal += (BitOperations.PopCount(mask) * bytes + SectorBytes - 1) / SectorBytes;
    }

    /// <summary>
    /// Waves: a wave serves one word of each of the 32 banks. Accesses of 8 bytes go by half warps, of 16 bytes by quarter warps.
    /// </summary>
    public static void Shared(ref AccessCounts counts, ReadOnlySpan<long> addresses, uint mask, int bytes)
    {
        Span<int> words = stackalloc int[Banks * Banks];
        Span<int> perBank = stackalloc int[Banks];
        int lanesPerPhase = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8, waves = 0, ideal = 0;
        for (int phase = 0; phase < 32; phase += lanesPerPhase)
        {
            perBank.Clear();
            int worst = 0;
            for (int lane = phase; lane < phase + lanesPerPhase; lane++)
            {
                if ((mask >> lane & 1) == 0) continue;
                for (int b = 0; b < bytes; b += BankBytes)
                {
                    int word = (int)((addresses[lane] + b) / BankBytes), bank = word % Banks, known = perBank[bank];
                    if (words.Slice(bank * Banks, known).Contains(word)) continue;
                    words[bank * Banks + known] = word;
                    worst = Math.Max(worst, ++perBank[bank]);
                }
            }
            waves += worst;
            ideal += worst > 0 ? 1 : 0;
        }
        counts.Requests++;
        counts.Units += waves;
        counts.Ideal += ideal;
    }
}
