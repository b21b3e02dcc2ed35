using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Staging;

/// <summary>A virtual register, or a constant where <see cref="IsConstant"/> is set: then <see cref="Bits"/> holds its value.</summary>
internal readonly record struct RegisterInfo(RegisterType Type, bool IsConstant, ulong Bits);

/// <summary>A line of the C# source that staged an instruction.</summary>
internal readonly record struct SourceLine(string File, int Line)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Path.GetFileName(File)}:{Line}";
}

/// <summary>A kernel parameter.</summary>
/// <param name="Name">As the author named it.</param>
/// <param name="Type">B64 for pointers.</param>
/// <param name="Element">Element type behind a pointer; null for numbers and tables.</param>
/// <param name="Box">For a tensor map, the piece that one copy brings; null for all else.</param>
internal sealed record KernelParameter(string Name, RegisterType Type, DType? Element, TensorBox? Box = null);

/// <summary>
/// The piece of a bfloat16 matrix that one copy of the tensor memory accelerator brings to shared memory: rows of 64 numbers, 128 bytes, whose
/// 16-byte chunks are swizzled by the row as <see cref="GroupTile"/> says. What lies outside the matrix becomes zero.
/// </summary>
internal readonly record struct TensorBox(int Rows)
{
    public const int Columns = 64, RowBytes = 128;

    public int Bytes => Rows * RowBytes;
}

/// <summary>One instruction: a row of the table with its registers. Registers are indices into <see cref="Kernel.Registers"/>.</summary>
internal sealed record Instruction(Form Form, int[] Destinations, int[] Sources, int Immediate, SourceLine Line)
{
    /// <summary>For control flow: index of the instruction that closes it, or that it belongs to.</summary>
    public int Partner { get; set; } = -1;
}

/// <summary>A staged kernel: the typed program that the printer turns into PTX and the simulator runs.</summary>
internal sealed class Kernel
{
    private string? _ptx;

    /// <summary>Entry name in PTX; states the shape that the kernel was staged for.</summary>
    public required string Name { get; init; }

    /// <summary>Threads of a block, a multiple of 32.</summary>
    public required int Threads { get; init; }

    /// <summary>Bytes of shared memory of a block.</summary>
    public required int SharedBytes { get; init; }

    /// <summary>Alignment of shared memory; more than usual where swizzles are counted from its addresses.</summary>
    public int SharedAlignment => Target >= 90 ? 1024 : 128;

    /// <summary>Parameters in order.</summary>
    public required KernelParameter[] Parameters { get; init; }

    /// <summary>All registers and constants.</summary>
    public required RegisterInfo[] Registers { get; init; }

    /// <summary>The program.</summary>
    public required Instruction[] Instructions { get; init; }

    /// <summary>Lowest target that has every instruction used, such as 80.</summary>
    public int Target => Math.Max(80, Instructions.Max(x => x.Form.Target));

    /// <summary>Lowest PTX version that has every instruction used, times ten.</summary>
    public int Isa => Math.Max(70, Instructions.Max(x => x.Form.Isa));

    /// <summary>The program's text, printed and linted on first use.</summary>
    public string Ptx => _ptx ??= PtxLint.Require(PtxPrinter.Print(this), Name);

    /// <summary>64-bit FNV-1a hash of the text, as 16 digits: names this exact kernel in the ledger and in messages.</summary>
    public string PtxHash
    {
        get
        {
            ulong hash = 14695981039346656037;
            foreach (char c in Ptx) hash = (hash ^ c) * 1099511628211;
            return hash.ToString("x16", System.Globalization.CultureInfo.InvariantCulture);
        }
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Name} ({Threads} threads, {Instructions.Length} instructions)";
}

/// <summary>A kernel was staged in a way that cannot be printed: an error of its author.</summary>
internal sealed class StagingException(string message) : BellmanException(message);
