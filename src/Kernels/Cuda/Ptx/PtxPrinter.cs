using System.Globalization;
using System.Text;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda.Ptx;

/// <summary>
/// Prints a staged kernel as PTX text. The text depends on the kernel alone, so that its hash names it. Source lines stay out:
/// they would change the hash with every edit above the kernel.
/// </summary>
internal static class PtxPrinter
{
    private static readonly string[] SpecialNames = ["%tid.x", "%laneid", "%ctaid.x", "%ctaid.y", "%ctaid.z", "%nctaid.x"];

    public static string Print(Kernel kernel)
    {
        var text = new StringBuilder();
        text.Append($".version {kernel.Isa / 10}.{kernel.Isa % 10}\n.target sm_{kernel.Target}{(kernel.Target == 90 ? "a" : "")}\n.address_size 64\n\n");
        // Dynamic shared memory: static memory ends at 48 KiB.
        if (kernel.SharedBytes > 0) text.Append($".extern .shared .align {kernel.SharedAlignment} .b8 shared_memory[];\n\n");
        text.Append($".visible .entry {kernel.Name}(");
        for (int i = 0; i < kernel.Parameters.Length; i++)
            text.Append($"{(i == 0 ? "" : ",")}\n    .param {(kernel.Parameters[i].Box is null ? $"{ParameterType(kernel.Parameters[i].Type)} {ParameterName(kernel, i)}" : $".align 64 .b8 {ParameterName(kernel, i)}[128]")}");
        text.Append($"\n)\n.maxntid {kernel.Threads}, 1, 1\n");
        // Without it the assembler cannot tell how many registers there are to pass on, and ignores the passing.
        if (kernel.Instructions.Any(x => x.Form.Kind == FormKind.SetRegisters)) text.Append(".minnctapersm 1\n");
        text.Append("{\n");

        string[] names = NameRegisters(kernel, text);
        var labels = new Labels();
        for (int i = 0; i < kernel.Instructions.Length; i++) PrintInstruction(kernel, i, names, labels, text);
        text.Append("    ret;\n}\n");
        return text.ToString();
    }

    private static string[] NameRegisters(Kernel kernel, StringBuilder text)
    {
        var used = new bool[kernel.Registers.Length];
        foreach (Instruction instruction in kernel.Instructions)
        {
            foreach (int register in instruction.Destinations) used[register] = true;
            foreach (int register in instruction.Sources) used[register] = true;
        }
        var names = new string[kernel.Registers.Length];
        foreach (RegisterType type in RegisterTypes.All)
        {
            int count = 0;
            for (int i = 0; i < names.Length; i++)
            {
                RegisterInfo register = kernel.Registers[i];
                if (register.Type != type || !used[i]) continue;
                names[i] = register.IsConstant ? Constant(register) : $"{type.Prefix()}{count++}";
            }
            if (count > 0) text.Append($"    .reg {type.Declaration()} {type.Prefix()}<{count}>;\n");
        }
        return names;
    }

    private static void PrintInstruction(Kernel kernel, int index, string[] names, Labels labels, StringBuilder text)
    {
        Instruction x = kernel.Instructions[index];
        string D(int i) => names[x.Destinations[i]];
        string S(int i) => names[x.Sources[i]];
        string Place(int source) => x.Immediate == 0 ? $"[{S(source)}]" : $"[{S(source)}+{x.Immediate}]";
        string line = x.Form.Kind switch
        {
            FormKind.Lanewise => $"{x.Form} {string.Join(", ", x.Destinations.Concat(x.Sources).Select(r => names[r]))}",
            FormKind.Special => $"{x.Form} {D(0)}, {SpecialNames[x.Immediate]}",
            FormKind.SharedAddress => x.Immediate == 0 ? $"{x.Form} {D(0)}, shared_memory" : $"{x.Form} {D(0)}, shared_memory+{x.Immediate}",
            FormKind.Parameter => $"{x.Form} {D(0)}, [{ParameterName(kernel, x.Immediate)}]",
            FormKind.Load => $"{x.Form} {Group(x.Destinations, names)}, {Place(0)}",
            FormKind.Store => $"{x.Form} {Place(0)}, {Group(x.Sources.AsSpan(1), names)}",
            FormKind.Reduce => $"{x.Form} {Place(0)}, {S(1)}",
            FormKind.Atomic => $"{x.Form} {D(0)}, {Place(0)}, {S(1)}",
            FormKind.CopyAsync => $"{x.Form} [{S(0)}], [{S(1)}], 16, {S(2)}",
            FormKind.CopyCommit or FormKind.Fence => x.Form.Spelling,
            FormKind.CopyWait => $"{x.Form} {x.Immediate}",
            FormKind.Barrier => $"{x.Form} 0",
            FormKind.WarpBarrier => $"{x.Form} 0xffffffff",
            FormKind.Shuffle => $"{x.Form} {D(0)}, {S(0)}, {x.Immediate}, {(x.Form.Spelling.Contains(".up.", StringComparison.Ordinal) ? 0 : 31)}, 0xffffffff",
            FormKind.Vote => $"{x.Form} {D(0)}, {S(0)}, 0xffffffff",
            FormKind.LoadMatrix => $"{x.Form} {Braced(x.Destinations, names)}, [{S(0)}]",
            FormKind.MatrixMultiply =>
                $"{x.Form} {Braced(x.Destinations, names)}, {Braced(x.Sources.AsSpan(0, 4), names)}, {Braced(x.Sources.AsSpan(4, 2), names)}, {Braced(x.Sources.AsSpan(6, 4), names)}",
            FormKind.ParameterAddress => $"{x.Form} {D(0)}, {ParameterName(kernel, x.Immediate)}",
            FormKind.MbarrierInit => $"{x.Form} [{S(0)}], {x.Immediate}",
            FormKind.MbarrierArrive => $"{x.Form} _, [{S(0)}]{(x.Sources.Length > 1 ? $", {S(1)}" : "")}",
            FormKind.MbarrierWait => $"{x.Form} {D(0)}, [{S(0)}], {S(1)}",
            FormKind.TensorCopy => $"{x.Form} [{S(0)}], [{S(1)}, {{{S(2)}, {S(3)}}}], [{S(4)}]",
            FormKind.ProxyFence or FormKind.MbarrierFence or FormKind.GroupFence or FormKind.GroupCommit => x.Form.Spelling,
            FormKind.GroupWait or FormKind.SetRegisters => $"{x.Form} {x.Immediate}",
            FormKind.GroupMultiply when x.Form.LeftInRegisters =>
                $"{x.Form} {Braced(x.Destinations, names)}, {Braced(x.Sources.AsSpan(0, 4), names)}, {S(4)}, {S(5)}, 1, 1, {x.Immediate >> 1}",
            FormKind.GroupMultiply => $"{x.Form} {Braced(x.Destinations, names)}, {S(0)}, {S(1)}, {S(2)}, 1, 1, {x.Immediate & 1}, {x.Immediate >> 1}",
            FormKind.If => $"@!{S(0)} bra {labels.Of(x.Partner)}",
            // Falls past the other branch, which begins here.
            FormKind.Else => $"bra {labels.Of(x.Partner)};\n{labels.Of(index)}:",
            FormKind.Break => $"@{S(0)} bra {labels.Of(x.Partner)}",
            FormKind.EndLoop => $"bra {labels.Of(x.Partner)};\n{labels.Of(index)}:",
            FormKind.Loop or FormKind.EndIf => $"{labels.Of(index)}:",
            _ => throw new InvalidOperationException($"{x.Form.Kind} has no spelling"),
        };
        text.Append(line[^1] == ':' && !line.Contains('\n') ? line : $"    {line}").Append(line[^1] == ':' ? "\n" : ";\n");
    }

    private static string Group(ReadOnlySpan<int> registers, string[] names) => registers.Length == 1 ? names[registers[0]] : Braced(registers, names);

    private static string Braced(ReadOnlySpan<int> registers, string[] names)
    {
        var text = new StringBuilder("{");
        for (int i = 0; i < registers.Length; i++) text.Append(i == 0 ? "" : ", ").Append(names[registers[i]]);
        return text.Append('}').ToString();
    }

    private static string Constant(RegisterInfo register) => register.Type switch
    {
        RegisterType.F32 => $"0f{(uint)register.Bits:X8}",
        RegisterType.F64 => $"0d{register.Bits:X16}",
        RegisterType.B32 => ((int)register.Bits).ToString(CultureInfo.InvariantCulture),
        RegisterType.B64 => ((long)register.Bits).ToString(CultureInfo.InvariantCulture),
        _ => throw new StagingException("a predicate has no constants"),
    };

    private static string ParameterType(RegisterType type) => type switch
    {
        RegisterType.B64 => ".u64",
        RegisterType.B32 => ".u32",
        RegisterType.F32 => ".f32",
        _ => ".f64",
    };

    private static string ParameterName(Kernel kernel, int index) => $"{kernel.Name}_{kernel.Parameters[index].Name}";

    /// <summary>Labels, numbered in the order in which they are first named.</summary>
    private sealed class Labels
    {
        private readonly Dictionary<int, string> _names = [];

        public string Of(int instruction)
        {
            if (!_names.TryGetValue(instruction, out string? name)) _names[instruction] = name = $"$L{_names.Count}";
            return name;
        }
    }
}
