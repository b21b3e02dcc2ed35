using System.Runtime.CompilerServices;

namespace Bellman.Kernels.Random;

/// <summary>
/// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
/// A draw is a pure function of (seed, stream, position, purpose), so it depends neither on what else is computed nor on
/// the number of threads, and a resumed run draws the same numbers.
/// </summary>
public static class Philox
{
    private const uint M0 = 0xD2511F53, M1 = 0xCD9E8D57, W0 = 0x9E3779B9, W1 = 0xBB67AE85;

    /// <summary>Four independent 32-bit words for one counter value.</summary>
    public static (uint A, uint B, uint C, uint D) Block(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (int round = 0; round < 10; round++)
        {
            ulong p0 = (ulong)M0 * c0, p1 = (ulong)M1 * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += W0;
            k1 += W1;
        }
        return (c0, c1, c2, c3);
    }

    /// <summary>A uniform draw in [0, 1) with 24 random bits.</summary>
    /// <param name="seed">The run's seed.</param>
    /// <param name="stream">Which sequence: sample number, problem number.</param>
    /// <param name="position">Where in the sequence.</param>
    /// <param name="purpose">Keeps different uses of one (stream, position) apart.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Uniform(ulong seed, ulong stream, uint position, uint purpose = 0) =>
        (Block(position, purpose, (uint)stream, (uint)(stream >> 32), (uint)seed, (uint)(seed >> 32)).A >> 8) * (1f / 16777216f);
}

/// <summary>
/// A sequential generator over <see cref="Philox"/> for code that wants one number after another (task generators,
/// shuffles, weight initialisation). Its whole state is (seed, stream, position).
/// </summary>
public sealed class PhiloxRandom(ulong seed, ulong stream = 0)
{
    private uint _position;
    private int _left;
    private (uint A, uint B, uint C, uint D) _block;

    /// <summary>Starts over as another generator, without allocating one.</summary>
    public void Restart(ulong newSeed, ulong newStream) => (seed, stream, _position, _left) = (newSeed, newStream, 0, 0);

    /// <summary>The next 32 random bits.</summary>
    public uint NextUInt32()
    {
        if (_left == 0)
        {
            // Purpose 0x5E90 keeps sequential draws apart from Philox.Uniform's at the same stream and position.
            _block = Philox.Block(_position++, 0x5E90, (uint)stream, (uint)(stream >> 32), (uint)seed, (uint)(seed >> 32));
            _left = 4;
        }
        return _left-- switch { 4 => _block.A, 3 => _block.B, 2 => _block.C, _ => _block.D };
    }

    /// <summary>Uniform in [0, 1).</summary>
    public double NextDouble() => (((ulong)NextUInt32() << 21) ^ (NextUInt32() >> 11)) * (1.0 / (1ul << 53));

    /// <summary>Uniform in 0 .. <paramref name="bound"/> − 1, without bias (Lemire's method).</summary>
    public int Next(int bound)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bound);
        ulong product = (ulong)NextUInt32() * (uint)bound;
        if ((uint)product < (uint)bound)
        {
            uint threshold = (uint)-bound % (uint)bound;
            while ((uint)product < threshold) product = (ulong)NextUInt32() * (uint)bound;
        }
        return (int)(product >> 32);
    }

    /// <summary>Standard normal (Box–Muller).</summary>
    public double NextNormal()
    {
        double u = 1.0 - NextDouble(), v = NextDouble();
        return Math.Sqrt(-2.0 * Math.Log(u)) * Math.Cos(2.0 * Math.PI * v);
    }

    /// <summary>Shuffles in place (Fisher–Yates).</summary>
    public void Shuffle<T>(Span<T> items)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            int j = Next(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }
}
