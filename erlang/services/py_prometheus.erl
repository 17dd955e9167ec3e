%%% @doc Figures in Prometheus' text format (0.0.4). Pure.
%%%
%%% ```
%%% # HELP py_pool_workers Workers that the pool has.
%%% # TYPE py_pool_workers gauge
%%% py_pool_workers{pool="default"} 4
%%% '''
%%% @private
-module(py_prometheus).

-export([text/1, content_type/0]).
-export_type([family/0, labels/0, value/0]).

-type family() ::
    {Name :: binary(), counter | gauge, Help :: binary(), [{labels(), value()}]}
    | {Name :: binary(), histogram, Help :: binary(), [{labels(), {[{BelowUs :: pos_integer(), non_neg_integer()}], SumUs :: non_neg_integer(), Count :: non_neg_integer()}}]}.
%% A counter's name ends in `_total'; a unit is in the name. Of a histogram the times are microseconds here, and seconds in the text.
-type labels() :: [{Name :: binary(), Value :: unicode:chardata() | atom()}].
-type value() :: number().

%% @doc What an HTTP answer says that the text is.
-spec content_type() -> binary().
content_type() -> <<"text/plain; version=0.0.4; charset=utf-8">>.

%% @doc The families, one after another; of one without samples only what it is.
-spec text([family()]) -> binary().
text(Families) -> unicode:characters_to_binary([family(Family) || Family <- Families]).

family({Name, Type, Help, Samples}) ->
    [
        ["# HELP ", Name, $\s, help(Help), $\n, "# TYPE ", Name, $\s, atom_to_binary(Type), $\n]
        | [sample(Type, Name, Labels, Value) || {Labels, Value} <- Samples]
    ].

sample(histogram, Name, Labels, {Buckets, SumUs, Count}) ->
    Bounds = [{seconds(Us), Below} || {Us, Below} <- Buckets] ++ [{"+Inf", Count}],
    [
        [line([Name, "_bucket"], Labels ++ [{<<"le">>, Bound}], Below) || {Bound, Below} <- Bounds],
        line([Name, "_sum"], Labels, SumUs / 1_000_000),
        line([Name, "_count"], Labels, Count)
    ];
sample(_Type, Name, Labels, Value) ->
    line(Name, Labels, Value).

line(Name, [], Value) -> [Name, $\s, number(Value), $\n];
line(Name, Labels, Value) -> [Name, ${, lists:join($,, [label(Label) || Label <- Labels]), $}, $\s, number(Value), $\n].

label({Name, Value}) when is_atom(Value) -> label({Name, atom_to_binary(Value)});
label({Name, Value}) -> [Name, $=, $", escaped(py_reason:utf8(Value), <<"\\\"\n">>), $"].

help(Help) -> escaped(Help, <<"\\\n">>).

escaped(Text, Which) -> << <<(character(C, binary:match(Which, <<C>>) =/= nomatch))/binary>> || <<C>> <= Text >>.

character($\n, true) -> <<"\\n">>;
character(C, true) -> <<$\\, C>>;
character(C, false) -> <<C>>.

number(Value) when is_integer(Value) -> integer_to_binary(Value);
number(Value) -> io_lib:format("~w", [Value]).

%% Powers of two of microseconds have six digits behind the point.
seconds(Us) -> string:trim(string:trim(io_lib:format("~.6f", [Us / 1_000_000]), trailing, "0"), trailing, ".").
