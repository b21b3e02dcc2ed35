using Bellman.Runtime.Tokenizers;
using Xunit;

namespace Bellman.Runtime.Tests.Tokenizers;

/// <summary>The Jinja subset. Expected texts were checked against Python's Jinja2 3.1 set up as Hugging Face does.</summary>
public sealed class ChatTemplateTests
{
    private static readonly ChatMessage[] Chat = [new("system", " Be brief. "), new("user", "Hi\nthere "), new("assistant", " <think>\nhm\n</think>\n\nHello! ")];

    [Theory]
    [InlineData("{{ 1 + 2 * 3 ** 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1.0 }} {{ 2 - 3 - 4 }}", "19 3 -4 2 3.5 1.0 -5")]
    [InlineData("{{ 'a' ~ 1 ~ none ~ true ~ [1, 'b', none] ~ {'k': 2.5} }}", "a1NoneTrue[1, 'b', None]{'k': 2.5}")]
    [InlineData("{{ 'abcdef'[1:-1] }} {{ 'abcdef'[-3:] }} {{ 'abcdef'[::2] }} {{ 'abc'[::-1] }} {{ [1, 2, 3][5:] }} {{ [1, 2, 3][-1] }}", "bcde def ace cba [] 3")]
    [InlineData("{{ 'a b  c'.split() }} {{ 'a,b,c'.split(',', 1) }} {{ ' a b '.rsplit(' ', 1) }} {{ 'x\ny\n'.splitlines() }}", "['a', 'b', 'c'] ['a', 'b,c'] [' a b', ''] ['x', 'y']")]
    [InlineData("{{ ' x '.strip() }}|{{ 'xxax'.lstrip('x') }}|{{ 'ab  '.rstrip() }}|{{ ' y ' | trim }}|{{ 'aXbX'.replace('X', '-', 1) }}", "x|ax|ab|y|a-bX")]
    [InlineData("{{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ 'abc'.find('c') }} {{ 'aab'.count('a') }} {{ 'p-q'.removeprefix('p-') }}", "True True 2 2 q")]
    [InlineData("{{ 'Hello World'|lower|title }} {{ 'hELLO'|capitalize }} {{ 'a'|upper }} {{ ['a', 'b']|join('-') }} {{ '+'.join(['a', 'b']) }}", "Hello World Hello A a-b a+b")]
    [InlineData("{{ {'a': [1, {'b': \"é\\n\"}], 'c': none, 'd': true} | tojson }}", "{\"a\": [1, {\"b\": \"é\\n\"}], \"c\": null, \"d\": true}")]
    [InlineData("{{ {'a': [1, 2], 'e': []} | tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"e\": []\n}")]
    [InlineData("{{ nothing }}|{{ nothing|default('d') }}|{{ ''|default('e', true) }}|{{ none|default('f') }}|{{ nothing is defined }}|{{ none is none }}", "|d|e|None|False|True")]
    [InlineData("{{ 5 is odd }} {{ 'a' is string }} {{ {} is mapping }} {{ 4 is divisibleby 2 }} {{ 3 in [1, 3] }} {{ 'b' not in 'abc' }} {{ 'k' in {'k': 1} }} {{ true is boolean }}", "True True True True True False True True")]
    [InlineData("{{ 'x' if nothing else 'y' }}{{ 1 if false }}{{ not 1 == 2 and 3 > 2 or false }}{{ '' or 'z' }}{{ 0 and 1 }}{{ (1 == 1) != (2 == 1) }}", "yTruez0True")]
    [InlineData("{% set ns = namespace(n=0) %}{% for i in range(1, 10, 3) %}{% set ns.n = ns.n + i %}{% set z = i %}{% endfor %}{{ ns.n }} {{ z is defined }}", "12 False")]
    [InlineData("{% for i in [1, 2, 3, 4] %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{{ loop.last }};{% endfor %}", "1False;3False;")]
    [InlineData("{% for k, v in {'p': 1, 'q': 2}.items() %}{{ loop.index }}{{ k }}{{ v }}{{ loop.previtem is defined }} {% else %}none{% endfor %}{% for x in [] %}{% else %}empty{% endfor %}", "1p1False 2q2True empty")]
    [InlineData("{% for m in messages if m.role != 'system' %}{{ loop.index }}/{{ loop.length }}{{ m.role }} {% endfor %}", "1/2user 2/2assistant ")]
    [InlineData("{% macro say(who, what='none', n=2) %}[{{ who|upper }}:{{ what }}{% for i in range(n) %}{{ i }}{% endfor %}]{% endmacro %}{{ say('a') }}{{ say('b', n=1, what='x') }}", "[A:none01][B:x0]")]
    [InlineData("{% set x %}a{{ 1 }}b{% endset %}{{ x|length }}{% set a, b = [1, 2] %}{{ b }}", "32")]
    [InlineData("{{ messages|map(attribute='role')|join(',') }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role', 'eq', 'user')|list|length }}", "system,user,assistant 1 2")]
    [InlineData("{{ {'a': {'b': 'deep'}}.a.b }} {{ {'get': 1}.get('zz', 'no') }} {{ [1] + [2] }} {{ 'ab' * 2 }} {{ '12'|int + 1 }} {{ 3.7|int }} {{ 'a\\nb'|indent(2) }}", "deep no [1, 2] abab 13 3 a\n  b")]
    [InlineData("{{ 'a\\tb\\\\n\\'q\\' \\x41 \\u00e9' }} {{ \"a\" \"b\" }}", "a\tb\\n'q' A é ab")]
    [InlineData("{% generation %}x{% endgeneration %}{# a #}{{ bos_token }}{{ eos_token }}", "x<s>")]
    // Whitespace control: trim_blocks, lstrip_blocks, signs, and the last line break.
    [InlineData("a\n  {% if true %}\n b \n  {% endif %}\nc\n", "a\n b \nc")]
    [InlineData("a \n {%- if true -%} \n b {%- endif %}\n\nc\n\n", "ab\nc\n")]
    [InlineData("x {% if true %}\n  {%+ if true %}\n y{% endif +%}\n{% endif %}\n{# c #}\n  {{- 1 -}} \n z", "x    y\n1z")]
    public void Expressions_and_statements(string template, string expected)
    {
        Assert.Equal(expected, ChatTemplate.Parse(template, new Dictionary<string, string?> { ["bos_token"] = "<s>", ["eos_token"] = null }).Render(Chat));
    }

    [Theory]
    [InlineData("{% include 'x' %}", "include")]
    [InlineData("{% raw %}x{% endraw %}", "raw")]
    [InlineData("{{ x | frobnicate }}", "'frobnicate'")]
    [InlineData("{{ x is blue }}", "'blue'")]
    [InlineData("{{ 'a'.zfill(3) }}", "'zfill'")]
    [InlineData("{{ strftime_now('%Y') }}", "'strftime_now'")]
    [InlineData("{{ f(*args) }}", "unpacked")]
    [InlineData("{{ 1 < 2 < 3 }}", "chained")]
    [InlineData("{% for x in y recursive %}{% endfor %}", "recursive")]
    [InlineData("{% break %}", "break")]
    [InlineData("\n\n{% if x %}", "line 3")]
    [InlineData("{% endif %}", "endif")]
    [InlineData("{{ 'abc }}", "closing '")]
    [InlineData("{{ a b }}", "'b'")]
    [InlineData("{{ (1 }}", "'}}'")]
    [InlineData("{{", "}}")]
    [InlineData("{# x", "#}")]
    [InlineData("{{ 1 + 'a' }}", "'+' between an integer and a string")]
    [InlineData("{{ 'a' + nothing }}", "'nothing'")]
    [InlineData("{{ nothing.x }}", "'nothing' is undefined")]
    [InlineData("{{ messages[0].wrong.x }}", "'wrong' is undefined")]
    [InlineData("{{ 1 / 0 }}", "zero")]
    [InlineData("{{ 9999999999999999999 }}", "too large")]
    [InlineData("{{ 9000000000000000000 * 9 }}", "64 bits")]
    [InlineData("{% for i in range(1000000000) %}{% endfor %}", "range")]
    [InlineData("{{ 'aaaaaaaaaa' * 1000000000 }}", "million")]
    [InlineData("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "steps")]
    [InlineData("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested")]
    [InlineData("{{ raise_exception('roles must alternate') }}", "roles must alternate")]
    public void What_is_not_supported_is_named(string template, string part)
    {
        var error = Assert.Throws<TokenizerException>(() => ChatTemplate.Parse(template).Render(Chat));
        Assert.Contains(part, error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void Endless_nesting_is_refused()
    {
        Assert.Throws<TokenizerException>(() => ChatTemplate.Parse("{{ " + new string('(', 100_000)));
        Assert.Throws<TokenizerException>(() => ChatTemplate.Parse("{{ " + new string('-', 100_000) + "1 }}"));
        Assert.Throws<TokenizerException>(() => ChatTemplate.Parse(string.Concat(Enumerable.Repeat("{% if x %}", 100_000))));
        Assert.Throws<TokenizerException>(() => ChatTemplate.Parse("{{ 1" + string.Concat(Enumerable.Repeat(" ~ 1", 100_000)) + " }}"));
        Assert.Throws<TokenizerException>(() => ChatTemplate.Parse("{{ x" + string.Concat(Enumerable.Repeat("|trim", 100_000)) + " }}"));
    }

    [Fact]
    public void Variables_of_the_caller_are_seen()
    {
        ChatTemplate template = ChatTemplate.Parse("{% if enable_thinking is defined and enable_thinking is false %}off{% else %}on{% endif %}{{ n + 1 }}{{ l[1] }}{{ d.k }}");
        var variables = new Dictionary<string, object?> { ["enable_thinking"] = false, ["n"] = 2, ["l"] = new[] { "a", "b" }, ["d"] = new Dictionary<string, object?> { ["k"] = 0.5 } };
        Assert.Equal("off3b0.5", template.Render(Chat, variables: variables));
        variables["n"] = new object();
        Assert.Throws<TokenizerException>(() => template.Render(Chat, variables: variables));
    }
}
