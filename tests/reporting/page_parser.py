"""A parser of report pages for tests."""

import html.parser


class Page(html.parser.HTMLParser):
    """The text of a page, what it refers to, and whether its tags are balanced."""

    VOID = {"meta", "img", "br", "link", "source"}

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.images, self.tags, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attrs["src"])
            assert attrs["alt"]
        if "href" in attrs:
            self.links.append(attrs["href"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())
