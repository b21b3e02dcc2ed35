using System.Buffers;
using System.Text;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>
/// The byte ↔ character table of byte-level BPE (GPT-2): printable Latin-1 bytes stand for themselves, the other 68 are
/// moved to U+0100 and up, so that every byte string is a string without blanks or control characters.
/// </summary>
internal static class ByteAlphabet
{
    private static readonly char[] Chars = Build();
    private static readonly short[] Bytes = Invert();

    public static char CharOf(byte value) => Chars[value];

    /// <summary>The byte a character stands for, or -1.</summary>
    public static int ByteOf(char c) => c < Bytes.Length ? Bytes[c] : -1;

    /// <summary>Appends the byte characters of the UTF-8 form of <paramref name="text"/>.</summary>
    public static int Map(ReadOnlySpan<char> text, Span<char> destination)
    {
        int written = 0;
        Span<byte> utf8 = stackalloc byte[4];
        while (!text.IsEmpty)
        {
            if (text[0] < 0x80)
            {
                destination[written++] = Chars[text[0]];
                text = text[1..];
                continue;
            }
            OperationStatus status = Rune.DecodeFromUtf16(text, out Rune rune, out int used);
            int count = (status == OperationStatus.Done ? rune : Rune.ReplacementChar).EncodeToUtf8(utf8);
            for (int i = 0; i < count; i++) destination[written++] = Chars[utf8[i]];
            text = text[used..];
        }
        return written;
    }

    private static char[] Build()
    {
        var chars = new char[256];
        int moved = 0;
        for (int b = 0; b < 256; b++)
        {
            bool printable = b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            chars[b] = printable ? (char)b : (char)(256 + moved++);
        }
        return chars;
    }

    private static short[] Invert()
    {
        var bytes = new short[256 + 68];
        Array.Fill(bytes, (short)-1);
        for (int b = 0; b < 256; b++) bytes[Chars[b]] = (short)b;
        return bytes;
    }
}
