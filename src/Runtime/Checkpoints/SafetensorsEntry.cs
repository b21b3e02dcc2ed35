namespace Bellman.Runtime.Checkpoints;

/// <summary>What a safetensors file says about one of its tensors.</summary>
public sealed class SafetensorsEntry
{
    internal SafetensorsEntry(string name, string type, long[] shape, long begin, long end)
    {
        (Name, Type, Shape, Begin, End) = (name, type, shape, begin, end);
        Length = (end - begin) / SafetensorsTypes.Size(type);
    }

    /// <summary>Name, such as "model.norm.weight".</summary>
    public string Name { get; }

    /// <summary>Element type as the file spells it: "F32", "BF16", "F16", "F64", "I32", "I64", "U8", "BOOL" and others.</summary>
    public string Type { get; }

    /// <summary>Sizes, outermost first; empty for a single number.</summary>
    public IReadOnlyList<long> Shape { get; }

    /// <summary>Number of elements.</summary>
    public long Length { get; }

    /// <summary>Size in the file, in bytes.</summary>
    public long Bytes => End - Begin;

    /// <summary>First byte, counted from the end of the header.</summary>
    internal long Begin { get; }

    /// <summary>One past the last byte, counted from the end of the header.</summary>
    internal long End { get; }

    /// <summary>Type and shape, such as "BF16 [320, 64]".</summary>
    public override string ToString() => $"{Type} {SafetensorsTypes.Describe(Shape)}";
}

/// <summary>Element types of the safetensors format whose elements are whole bytes.</summary>
internal static class SafetensorsTypes
{
    public const string F32 = "F32", BF16 = "BF16", F16 = "F16", F64 = "F64", I32 = "I32", I64 = "I64";

    /// <summary>Bytes per element, or 0 for a type that is not known.</summary>
    public static int Size(string type) => type switch
    {
        "BOOL" or "U8" or "I8" or "F8_E5M2" or "F8_E4M3" or "F8_E8M0" => 1,
        "U16" or "I16" or F16 or BF16 => 2,
        "U32" or I32 or F32 => 4,
        "U64" or I64 or F64 or "C64" => 8,
        _ => 0,
    };

    /// <summary>A shape as text: "[320, 64]".</summary>
    public static string Describe(IReadOnlyList<long> shape) => $"[{string.Join(", ", shape)}]";

    /// <summary>A name from a file, safe to print on one line: files may hold any characters.</summary>
    public static string Quote(string name)
    {
        var text = new System.Text.StringBuilder("'");
        foreach (char letter in name.AsSpan(0, Math.Min(name.Length, 120)))
            text.Append(char.IsControl(letter) || char.IsSurrogate(letter) || letter is '\u2028' or '\u2029' ? '?' : letter);
        return text.Append(name.Length > 120 ? "…'" : "'").ToString();
    }
}
