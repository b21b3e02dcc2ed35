using System.Runtime.CompilerServices;
using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Staging;

/// <summary>An address in device memory with elements of one type.</summary>
internal readonly record struct Pointer<T>(S64 Address) where T : struct, IStaged<T>
{
    private KernelBuilder Kernel => Address.Value.Kernel!;

    /// <summary>Element i.</summary>
    public T this[S32 i, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0]
    {
        get => Load(i, 1, file, line)[0];
        set => Store(i, [value], file, line);
    }

    /// <summary>1, 2 or 4 elements from i on, in one access of at most 16 bytes, aligned to its size.</summary>
    public T[] Load(S32 i, int count, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Kernel.At(file, line);
        return Kernel.LoadFrom<T>(Forms.LoadGlobal, Address.Value, i, T.Type.Bytes(), count);
    }

    /// <summary>Stores 1, 2 or 4 elements from i on, in one access.</summary>
    public void Store(S32 i, T[] values, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Kernel.At(file, line);
        Kernel.StoreTo(Forms.StoreGlobal, Address.Value, i, T.Type.Bytes(), values);
    }

    /// <summary>The address of element i.</summary>
    public Pointer<T> Offset(S32 i) => new(Kernel.Advance(Address, i, T.Type.Bytes()));
}

/// <summary>Element-wise atomics.</summary>
internal static class Atomics
{
    /// <summary>p[i] += value, at once for the device. Sums depend on the order in which blocks come: not for results that must repeat.</summary>
    public static void AtomicAdd(this Pointer<F32> pointer, S32 i, F32 value, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        KernelBuilder kernel = pointer.Address.Value.Kernel!;
        kernel.At(file, line);
        S64 address = kernel.Advance(pointer.Address, i, 4);
        int number = kernel.UseRegister(value.Value, RegisterType.F32);
        kernel.Append(Forms.AddGlobalF32, [], [address.Value.Register, number], 0);
    }

    /// <summary>p[i] += value, at once for the device; returns the number before.</summary>
    public static S32 AtomicAdd(this Pointer<S32> pointer, S32 i, S32 value, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        KernelBuilder kernel = pointer.Address.Value.Kernel!;
        kernel.At(file, line);
        S64 address = kernel.Advance(pointer.Address, i, 4);
        int old = kernel.NewRegister(RegisterType.B32), number = kernel.UseRegister(value.Value, RegisterType.B32);
        kernel.Append(Forms.AtomicAddGlobal, [old], [address.Value.Register, number], 0);
        return S32.From(new(kernel, old, 0));
    }
}

/// <summary>
/// Numbers in device memory that the kernel sees as float32, stored as float32 or bfloat16 as the staged shape says. Stores to
/// bfloat16 round to nearest, ties to even.
/// </summary>
internal readonly record struct Floats(S64 Address, DType Storage)
{
    /// <summary>Elements of the widest access, 16 bytes.</summary>
    public int Widest => 16 / Storage.Size();

    private KernelBuilder Kernel => Address.Value.Kernel!;

    /// <summary>Element i.</summary>
    public F32 this[S32 i, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0]
    {
        get => Load(i, 1, file, line)[0];
        set => Store(i, [value], file, line);
    }

    /// <summary>A power of two of elements from i on, in accesses of up to 16 bytes; the address is aligned to the access.</summary>
    public F32[] Load(S32 i, int count, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Kernel.At(file, line);
        var values = new F32[count];
        int piece = Math.Min(count, Widest);
        for (int start = 0; start < count; start += piece)
        {
            S32 first = start == 0 ? i : i + start;
            if (Storage == DType.F32) Kernel.LoadFrom<F32>(Forms.LoadGlobal, Address.Value, first, 4, piece).CopyTo(values, start);
            else if (piece == 1) values[start] = (Kernel.LoadFrom<S32>(Forms.LoadGlobal, Address.Value, first, 2, 1)[0] << 16).AsF32();
            else
            {
                Packed[] pairs = Kernel.LoadFrom<Packed>(Forms.LoadGlobal, Address.Value, first, 4, piece / 2, scale: 2);
                for (int j = 0; j < pairs.Length; j++) (values[start + 2 * j], values[start + 2 * j + 1]) = (pairs[j].Low, pairs[j].High);
            }
        }
        return values;
    }

    /// <summary>Stores a power of two of elements from i on.</summary>
    public void Store(S32 i, F32[] values, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Kernel.At(file, line);
        int piece = Math.Min(values.Length, Widest);
        for (int start = 0; start < values.Length; start += piece)
        {
            S32 first = start == 0 ? i : i + start;
            if (Storage == DType.F32) Kernel.StoreTo(Forms.StoreGlobal, Address.Value, first, 4, values[start..(start + piece)]);
            else if (piece == 1) Kernel.StoreTo<S32>(Forms.StoreGlobal, Address.Value, first, 2, [S32.From(Packed.Of(values[start], Kernel.Number(0)).Value)]);
            else
            {
                var pairs = new Packed[piece / 2];
                for (int j = 0; j < pairs.Length; j++) pairs[j] = Packed.Of(values[start + 2 * j], values[start + 2 * j + 1]);
                Kernel.StoreTo(Forms.StoreGlobal, Address.Value, first, 4, pairs, scale: 2);
            }
        }
    }

    /// <summary>Stores pairs of bfloat16 numbers from element i on, in one access.</summary>
    public void StorePairs(S32 i, Packed[] pairs, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Kernel.At(file, line);
        Kernel.StoreTo(Forms.StoreGlobal, Address.Value, i, 4, pairs, scale: 2);
    }

    /// <summary>The numbers from element i on.</summary>
    public Floats Offset(S32 i) => this with { Address = Kernel.Advance(Address, i, Storage.Size()) };

    /// <summary>The numbers a run-time number of bytes, times i, further on.</summary>
    public Floats Advance(S32 i, S32 bytes) => this with { Address = KernelBuilder.Emit<S64>(Forms.MadWideS32, i.Value, bytes.Value, Address.Value) };

    /// <summary>The same numbers at another address.</summary>
    public Floats At(S64 address) => this with { Address = address };

    /// <summary>Row i of a matrix: its first element may lie beyond the reach of a 32-bit index.</summary>
    public Floats Row(S32 i, int columns) => this with { Address = Kernel.Advance(Address, i, checked(columns * Storage.Size())) };
}

/// <summary>Shared memory of a block with elements of one type, from a fixed offset on.</summary>
internal sealed class Shared<T>(KernelBuilder kernel, int offset, int count) where T : struct, IStaged<T>
{
    /// <summary>Number of elements.</summary>
    public int Count => count;

    /// <summary>Element i.</summary>
    public T this[S32 i, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0]
    {
        get => Load(i, file, line);
        set => Store(i, value, file, line);
    }

    public T Load(S32 i, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        kernel.At(file, line);
        return kernel.LoadFrom<T>(Forms.LoadShared, kernel.SharedAddress(offset).Value, i, T.Type.Bytes(), 1)[0];
    }

    public void Store(S32 i, T value, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        kernel.At(file, line);
        kernel.StoreTo(Forms.StoreShared, kernel.SharedAddress(offset).Value, i, T.Type.Bytes(), [value]);
    }
}
