using System.Runtime.CompilerServices;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>An instruction made ready to run: places of its first registers' rows, and the numbers of all.</summary>
internal unsafe struct Decoded
{
    public FormKind Kind;
    public int D, A, B, C;
    public int Immediate, Partner;
    public delegate*<byte*, byte*, byte*, byte*, uint, void> Lanes;
    public Form Form;
    public int[] Destinations, Sources;

    /// <summary>Places of all registers' rows: destinations, then sources.</summary>
    public int[] Rows;
}

/// <summary>Lays out registers and prepares instructions.</summary>
internal static unsafe class Decoder
{
    public static (Decoded[] Code, int RowBytes, int[] Rows) Decode(Kernel kernel)
    {
        var rows = new int[kernel.Registers.Length];
        int size = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            rows[i] = size;
            size += Math.Max(32, 32 * kernel.Registers[i].Type.Bytes());
        }
        var code = new Decoded[kernel.Instructions.Length];
        for (int i = 0; i < code.Length; i++)
        {
            Instruction x = kernel.Instructions[i];
            int Row(int[] registers, int place) => place < registers.Length ? rows[registers[place]] : 0;
            code[i] = new()
            {
                Kind = x.Form.Kind, D = Row(x.Destinations, 0), A = Row(x.Sources, 0), B = Row(x.Sources, 1), C = Row(x.Sources, 2), Immediate = x.Immediate,
                Partner = x.Partner, Lanes = x.Form.Lanes, Form = x.Form, Destinations = x.Destinations, Sources = x.Sources,
                Rows = [.. x.Destinations.Concat(x.Sources).Select(r => rows[r])],
            };
        }
        return (code, size, rows);
    }

    public static void FillConstants(Kernel kernel, int[] rows, byte* memory)
    {
        for (int i = 0; i < rows.Length; i++)
        {
            RegisterInfo register = kernel.Registers[i];
            if (!register.IsConstant) continue;
            for (int lane = 0; lane < 32; lane++)
                if (register.Type.Bytes() == 4) ((uint*)(memory + rows[i]))[lane] = (uint)register.Bits;
                else ((ulong*)(memory + rows[i]))[lane] = register.Bits;
        }
    }
}
