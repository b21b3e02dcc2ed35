namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>The pieces a pre-tokenizer has made so far: ranges of one text, so that splitting copies nothing.</summary>
internal sealed class PieceList
{
    private List<(int Start, int Length)> _spare = [];

    /// <summary>The text the ranges lie in; steps that change characters replace it.</summary>
    public string Text { get; private set; } = "";

    public List<(int Start, int Length)> Items { get; private set; } = [];

    /// <summary>Whether the first piece stands at the start of the whole text (not behind an added token).</summary>
    public bool AtStart { get; private set; }

    /// <summary>Whether the first piece goes on where earlier tokens ended, so that it gets no dummy prefix.</summary>
    public bool Continues { get; private set; }

    public void Reset(string text, bool atStart, bool continues)
    {
        Text = text;
        AtStart = atStart;
        Continues = continues;
        Items.Clear();
        if (text.Length > 0) Items.Add((0, text.Length));
    }

    /// <summary>Replaces every piece by what <paramref name="split"/> makes of it; empty pieces are dropped.</summary>
    public void Split(Action<string, int, int, List<(int Start, int Length)>> split)
    {
        _spare.Clear();
        foreach ((int start, int length) in Items) split(Text, start, length, _spare);
        _spare.RemoveAll(static x => x.Length == 0);
        (Items, _spare) = (_spare, Items);
    }

    /// <summary>Replaces the text, and with it the pieces.</summary>
    public void Replace(string text, IEnumerable<(int Start, int Length)> pieces)
    {
        _spare.Clear();
        _spare.AddRange(pieces);
        (Items, _spare) = (_spare, Items);
        Text = text;
    }
}
