using System.Globalization;
using System.Text;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>One stage of decoding: takes tokens, hands text on as soon as it is certain.</summary>
internal abstract class DecoderStage
{
    public DecoderStage? Next { get; set; }

    public abstract void Push(string token);

    /// <summary>No more tokens come: hand on what was held back.</summary>
    public void Finish()
    {
        Release();
        Next?.Finish();
    }

    protected virtual void Release() { }
}

/// <summary>The end of the chain.</summary>
internal sealed class TextSink : DecoderStage
{
    private readonly StringBuilder _text = new();

    public override void Push(string token) => _text.Append(token);

    public string Take()
    {
        string text = _text.ToString();
        _text.Clear();
        return text;
    }
}

/// <summary>Blanks between tokens.</summary>
internal sealed class JoinStage : DecoderStage
{
    private bool _started;

    public override void Push(string token)
    {
        Next!.Push(_started ? " " + token : token);
        _started = true;
    }
}

/// <summary>Characters of the byte alphabet back to bytes, bytes to text; a token with any other character stands for its own UTF-8.</summary>
internal sealed class ByteLevelStage : DecoderStage
{
    private readonly System.Text.Decoder _utf8 = Encoding.UTF8.GetDecoder();

    public override void Push(string token)
    {
        byte[] bytes = new byte[token.Length];
        for (int i = 0; i < token.Length; i++)
        {
            int value = ByteAlphabet.ByteOf(token[i]);
            if (value < 0)
            {
                bytes = Encoding.UTF8.GetBytes(token);
                break;
            }
            bytes[i] = (byte)value;
        }
        HandOn(bytes, last: false);
    }

    protected override void Release() => HandOn([], last: true);

    private void HandOn(byte[] bytes, bool last)
    {
        var text = new char[bytes.Length + 4];
        int count = _utf8.GetChars(bytes, text, last);
        if (count > 0) Next!.Push(new string(text, 0, count));
    }
}

/// <summary>
/// Tokens like &lt;0xE2&gt; to text. A run of them is one unit, as in the Rust library: valid UTF-8 becomes its text, anything
/// else one U+FFFD a byte. The verdict falls at the end of the run, so a stream waits until then.
/// </summary>
internal sealed class ByteFallbackStage : DecoderStage
{
    private readonly List<byte> _run = [];
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    public override void Push(string token)
    {
        if (ByteOf(token) is int value and >= 0)
        {
            _run.Add((byte)value);
            return;
        }
        Release();
        Next!.Push(token);
    }

    /// <summary>The byte that a byte token stands for, or -1.</summary>
    public static int ByteOf(string token) =>
        token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
        && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value) ? value : -1;

    protected override void Release()
    {
        if (_run.Count == 0) return;
        byte[] bytes = [.. _run];
        _run.Clear();
        string text;
        try
        {
            text = Strict.GetString(bytes);
        }
        catch (DecoderFallbackException)
        {
            text = new string('\uFFFD', bytes.Length);
        }
        Next!.Push(text);
    }
}

/// <summary>Replaces inside each token; behind a Fuse a longer pattern may span tokens, so all text is awaited.</summary>
internal sealed class ReplaceStage(Normalizer replace, bool wait) : DecoderStage
{
    private readonly StringBuilder _held = new();

    public override void Push(string token)
    {
        if (wait) _held.Append(token);
        else Next!.Push(replace.Apply(token, false));
    }

    protected override void Release()
    {
        if (_held.Length > 0) Next!.Push(replace.Apply(_held.ToString(), false));
        _held.Clear();
    }
}

/// <summary>Removes up to so many of a character at both ends of each token.</summary>
internal sealed class StripStage(char content, int start, int stop) : DecoderStage
{
    public override void Push(string token)
    {
        int from = 0, to = token.Length;
        while (from < Math.Min(start, token.Length) && token[from] == content) from++;
        while (token.Length - to < stop && to > from && token[to - 1] == content) to--;
        Next!.Push(token[from..to]);
    }
}

/// <summary>The same for fused text: leading ones fall away at once, trailing ones are held until it is known that they trail.</summary>
internal sealed class FusedStripStage(char content, int start, int stop) : DecoderStage
{
    private int _leading = start;
    private string _held = "";

    public override void Push(string token)
    {
        if (token.Length == 0) return;
        int from = 0;
        while (from < token.Length && _leading > 0 && token[from] == content)
        {
            from++;
            _leading--;
        }
        if (from < token.Length) _leading = 0;
        string text = _held + token[from..];
        int to = text.Length;
        while (text.Length - to < stop && to > 0 && text[to - 1] == content) to--;
        _held = text[to..];
        if (to > 0) Next!.Push(text[..to]);
    }

    protected override void Release() => _held = "";
}

/// <summary>Visible blanks back to blanks; in the first token they are dummies and vanish.</summary>
internal sealed class MetaspaceStage(Metaspace rules, bool fused) : DecoderStage
{
    private bool _later;

    public override void Push(string token)
    {
        bool drop = !_later && rules.Prepend != PrependScheme.Never;
        if (!fused) _later = true;
        Next!.Push(drop ? token.Replace(rules.Replacement.ToString(), "", StringComparison.Ordinal) : token.Replace(rules.Replacement, ' '));
    }
}

/// <summary>End-of-word suffixes to blanks, except behind the last word.</summary>
internal sealed class SuffixStage(string suffix) : DecoderStage
{
    private string? _held;

    public override void Push(string token)
    {
        if (_held is not null) Next!.Push(_held.Replace(suffix, " ", StringComparison.Ordinal));
        _held = token;
    }

    protected override void Release()
    {
        if (_held is not null) Next!.Push(_held.Replace(suffix, "", StringComparison.Ordinal));
        _held = null;
    }
}
